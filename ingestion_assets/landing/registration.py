"""Giving landed drops their rows in the ledger, at once or late; the same code for both."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ingestion_assets.landing.drops import HELD, AcceptedFacts, Header
from ingestion_assets.landing.segments import Entry
from ingestion_assets.landing.tables import drops

_POSTGRESQL = postgresql.dialect()
_NAMED_ALIKE = [
    drops.c[name]
    for name in (*AcceptedFacts.__struct_fields__, "segment", "offset", "length", "state", "errors")
]
_NAMES = ", ".join(f'"{column.name}"' for column in _NAMED_ALIKE)
_TYPED = ", ".join(f'"{column.name}" {column.type.compile(_POSTGRESQL)}' for column in _NAMED_ALIKE)
_INSERT = sa.text(f"""
    INSERT INTO ingestion.drops ({_NAMES}, body_sha256, size_bytes, finished_at, queued_at)
    SELECT {_NAMES.replace('"attributes"', "coalesce(attributes, '{}')")}, decode(sha256, 'base64'), size,
           CASE WHEN state IN ('done', 'failed') THEN clock_timestamp() END,
           CASE WHEN received_at < clock_timestamp() - interval '10 s' THEN clock_timestamp() END
    FROM json_to_recordset(CAST(:rows AS json)) AS incoming ({_TYPED}, sha256 text, size bigint)
    ON CONFLICT DO NOTHING
""")
_encode = msgspec.json.Encoder().encode
_KNOWN_KEYS = sa.text("""
    SELECT known.id, known.body_sha256, asked.id AS asked_id
    FROM json_to_recordset(CAST(:rows AS json)) AS asked (id uuid, principal text, flow text, idempotency_key text)
    JOIN ingestion.drops known USING (principal, flow, idempotency_key)
""")


@dataclass(frozen=True, slots=True)
class Known:
    """An idempotency key that was used before: by which drop, with which body."""

    id: UUID
    body_sha256: bytes


class Landed(msgspec.Struct, frozen=True):
    """A drop on landing storage: the segment it lies in and its place there."""

    segment: str
    entry: Entry

    @property
    def header(self) -> Header:
        return self.entry.header


def known_key(connection: sa.Connection, header: Header) -> Known | None:
    """The drop that used the same idempotency key before, if any."""
    row = connection.execute(
        sa.select(drops.c.id, drops.c.body_sha256).where(
            drops.c.principal == header.principal,
            drops.c.flow == header.flow,
            drops.c.idempotency_key == header.idempotency_key,
        )
    ).one_or_none()
    return None if row is None else Known(row.id, row.body_sha256)


def register(connection: sa.Connection, landed: Sequence[Landed]) -> dict[UUID, Known]:
    """Insert rows for landed drops; repeating it changes nothing.

    Returns, for drops whose idempotency key another drop has, that other drop. Such a drop gets an alias row, so that a
    receipt given out for it while the ledger was down still answers: `done` and pointing at the first one if the
    bodies are equal, `failed` with the reason if not. A drop that comes late has been waiting for a run from now on only.
    """
    if _insert(connection, [_row(one) for one in landed]) == len(landed):
        return {}
    asked = [
        {
            "id": one.header.id,
            "principal": one.header.principal,
            "flow": one.header.flow,
            "idempotency_key": one.header.idempotency_key,
        }
        for one in landed
        if one.header.idempotency_key
    ]
    known = {
        row.asked_id: Known(row.id, row.body_sha256)
        for row in connection.execute(_KNOWN_KEYS, {"rows": msgspec.json.encode(asked).decode()})
        if row.asked_id != row.id
    }
    _insert(connection, [_alias(one, known[one.header.id]) for one in landed if one.header.id in known])
    return known


def hold_segment(connection: sa.Connection, path: str) -> None:
    """Until the transaction's end nobody else registers the segment from what lies on landing storage, or takes it back."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:path, 0))"), {"path": path})


def is_registered(connection: sa.Connection, path: str) -> bool:
    """Whether a payload of the segment has a row."""
    return bool(connection.scalar(sa.select(sa.exists().where(drops.c.segment == path))))


def _insert(connection: sa.Connection, rows: list[bytes]) -> int:
    """The number of rows that were new."""
    if not rows:
        return 0
    return connection.execute(_INSERT, {"rows": f"[{b','.join(rows).decode()}]"}).rowcount


def _row(one: Landed) -> bytes:
    """The header as it stands in the segment, and where the body lies."""
    state = b"held" if HELD in one.header.attributes else b"landed"
    place = b'"segment":%b,"offset":%d,"state":"%b"}' % (_encode(one.segment), one.entry.offset, state)
    return b"%b,%b" % (one.entry.line[:-1], place)


def _alias(one: Landed, known: Known) -> bytes:
    same = known.body_sha256 == one.header.sha256
    row = msgspec.json.decode(_row(one)) | {"idempotency_key": None, "state": "done" if same else "failed"}
    row["attributes"] = {**one.header.attributes, "alias_of": str(known.id)}
    if not same:
        reason = "the Idempotency-Key was used before with another body"
        row["errors"] = [{"code": "idempotency_conflict", "reason": reason, "receipt": str(known.id)}]
    return _encode(row)
