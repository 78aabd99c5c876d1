"""Records and payloads that could not be stored: kept whole, listed, discarded.

To send them on their way again takes the intake, which runs do without: `redriving`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert

from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.ledger import Page
from ingestion_assets.landing.tables import rejects


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReject:
    """A reject as it is kept. `position` is the record's index in its payload, -1 for a whole payload."""

    id: UUID
    flow: str
    receipt: UUID
    position: int
    kind: str
    code: str
    reason: str
    record: bytes
    created_at: datetime
    redriven_at: datetime | None
    redriven_as: UUID | None


_STORED = [
    rejects.c[name] if name != "receipt" else rejects.c.drop_id.label("receipt")
    for name in StoredReject.__dataclass_fields__
]


def insert_rejects(
    connection: sa.Connection, flows: Mapping[UUID, str], outcomes: Sequence[DropOutcome]
) -> None:
    """Keep the rejects of some drops; repeating it changes nothing. A payload that fails again after it was sent again
    is open again."""
    rows = [
        {
            "id": uuid_utils.compat.uuid7(),
            "flow": flows[outcome.drop_id],
            "drop_id": outcome.drop_id,
            "position": reject.position,
            "kind": reject.kind,
            "code": reject.code,
            "reason": reject.reason,
            "record": reject.record,
        }
        for outcome in outcomes
        for reject in outcome.rejects
    ]
    if rows:
        statement = insert(rejects)
        again = {name: statement.excluded[name] for name in ("code", "reason")}
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["drop_id", "position", "kind"],
                set_={**again, "redriven_at": None, "redriven_as": None},
                where=rejects.c.redriven_at.is_not(None) & (rejects.c.position < 0),
            ),
            rows,
        )


def list_rejects(
    connection: sa.Connection,
    *,
    flow: str | None = None,
    receipt: UUID | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    open_only: bool = False,
    limit: int = 50,
    max_bytes: float = math.inf,
    cursor: str | None = None,
) -> Page[StoredReject]:
    """Rejects, oldest first. A page whose records are more than `max_bytes` long ends early, but has one at least."""
    query = sa.select(rejects.c.id, sa.func.octet_length(rejects.c.record)).order_by(rejects.c.id)
    for column, value in ((rejects.c.flow, flow), (rejects.c.drop_id, receipt), (rejects.c.kind, kind)):
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(rejects.c.created_at >= since)
    if until is not None:
        query = query.where(rejects.c.created_at <= until)
    if open_only:
        query = query.where(rejects.c.redriven_at.is_(None))
    if cursor is not None:
        query = query.where(rejects.c.id > UUID(cursor))
    found = connection.execute(query.limit(limit + 1)).all()
    sizes = accumulate(length for _, length in found[:limit])
    ids = [one.id for one, size in zip(found, sizes, strict=False) if size <= max_bytes or one is found[0]]
    rows = connection.execute(sa.select(*_STORED).where(rejects.c.id.in_(ids)).order_by(rejects.c.id))
    items = [StoredReject(**row._mapping) for row in rows]
    return Page(items, str(ids[-1]) if len(found) > len(ids) else None)


def time_of_database(connection: sa.Connection) -> datetime:
    """Now, by the clock that says when a reject was kept."""
    return connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()


def get_reject(connection: sa.Connection, reject_id: UUID) -> StoredReject | None:
    row = connection.execute(sa.select(*_STORED).where(rejects.c.id == reject_id)).one_or_none()
    return None if row is None else StoredReject(**row._mapping)


def discard(connection: sa.Connection, ids: Sequence[UUID]) -> int:
    """Delete rejects that nobody will send again; gives how many there were."""
    return connection.execute(sa.delete(rejects).where(rejects.c.id.in_(ids))).rowcount
