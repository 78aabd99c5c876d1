"""Records and payloads that could not be stored: kept whole, listed, and sent on their way again."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import accumulate
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert

from ingestion_assets.landing.dispatch import announce
from ingestion_assets.landing.drops import DropOutcome, NewDrop
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.intake import Intake
from ingestion_assets.landing.ledger import Page
from ingestion_assets.landing.tables import drops, rejects


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


@dataclass(frozen=True, slots=True)
class Redriven:
    """A reject that was sent again, and the receipt of that try."""

    id: UUID
    receipt: UUID


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


def get_reject(connection: sa.Connection, reject_id: UUID) -> StoredReject | None:
    row = connection.execute(sa.select(*_STORED).where(rejects.c.id == reject_id)).one_or_none()
    return None if row is None else StoredReject(**row._mapping)


async def redrive(
    engine: sa.Engine, intake: Intake, flows: Mapping[str, Flow], chosen: Sequence[StoredReject]
) -> list[Redriven]:
    """Send rejects again: records as new payloads (one per original, and one for each record that its flow sends alone),
    whole payloads as they landed.

    The same try made twice, at once or because its first answer was lost, gives the same receipt.
    """
    records: dict[tuple[UUID, int], list[StoredReject]] = defaultdict(list)
    done: list[Redriven] = []
    for reject in chosen:
        if reject.position < 0:
            done.append(Redriven(reject.id, await asyncio.to_thread(_redrive_payload, engine, reject)))
        else:
            alone = flows[reject.flow].alone(reject.record)
            records[reject.receipt, reject.position if alone else -1].append(reject)
    for (drop_id, _), group in records.items():
        receipt = await _redrive_records(engine, intake, flows, drop_id, group)
        await asyncio.to_thread(_mark_sent, engine, [reject.id for reject in group], receipt)
        done += [Redriven(reject.id, receipt) for reject in group]
    return done


async def _redrive_records(
    engine: sa.Engine,
    intake: Intake,
    flows: Mapping[str, Flow],
    drop_id: UUID,
    group: Sequence[StoredReject],
) -> UUID:
    origin = await asyncio.to_thread(_origin, engine, drop_id)
    flow = flows[origin.flow]
    group = sorted(group, key=lambda reject: reject.position)
    body = flow.compose([reject.record for reject in group], origin.attributes)
    partition = flow.partition_of(intake.clock.now(), origin.subject)
    accepted = await intake.accept(
        NewDrop(
            flow=flow.name,
            partition=partition,
            lane=flow.lane_of(partition, drop_id.int),
            principal=origin.principal,
            subject=origin.subject,
            body=body.data,
            records=body.records,
            idempotency_key=_key(group, body.data),
            attributes=origin.attributes | {"redrive_of": str(drop_id)},
        )
    )
    return accepted.id


def _key(group: Sequence[StoredReject], body: bytes) -> str:
    """The same for the same rejects until they are marked as sent."""
    digest = sha256(b"".join(reject.id.bytes + str(reject.redriven_as).encode() for reject in group))
    digest.update(body)
    return f"redrive-{digest.hexdigest()}"


def _mark_sent(engine: sa.Engine, ids: Sequence[UUID], receipt: UUID) -> None:
    with engine.begin() as connection:
        _mark(connection, ids, receipt)


def _origin(engine: sa.Engine, drop_id: UUID) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.select(drops).where(drops.c.id == drop_id)).one()


def _redrive_payload(engine: sa.Engine, reject: StoredReject) -> UUID:
    with engine.begin() as connection:
        redriven = connection.execute(
            sa.update(drops)
            .where(drops.c.id == reject.receipt, drops.c.state == "failed")
            .values(
                state="landed",
                attempts=0,
                deferrals=0,
                not_before=None,
                queued_at=sa.func.clock_timestamp(),
                finished_at=None,
                errors=None,
            )
            .returning(drops.c.flow, drops.c.lane)
        ).all()
        _mark(connection, [reject.id], reject.receipt)
        announce(connection, [(row.flow, row.lane) for row in redriven])
    return reject.receipt


def _mark(connection: sa.Connection, ids: Sequence[UUID], receipt: UUID) -> None:
    connection.execute(
        sa.update(rejects)
        .where(rejects.c.id.in_(ids))
        .values(redriven_at=sa.func.clock_timestamp(), redriven_as=receipt)
    )


def discard(connection: sa.Connection, ids: Sequence[UUID]) -> int:
    """Delete rejects that nobody will send again; gives how many there were."""
    return connection.execute(sa.delete(rejects).where(rejects.c.id.in_(ids))).rowcount
