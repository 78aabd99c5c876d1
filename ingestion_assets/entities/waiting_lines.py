"""Lines of streams that wait for what they reference, kept in the table `_waiting` until their stream ends."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.loaded import Fault
from ingestion_assets.entities.parsing import parse
from ingestion_assets.entities.payload import Payload
from ingestion_assets.entities.staging import Staging

WAITING_AT_ONCE = 100_000

Ending = Mapping[str, Payload]
"""The payload that ends a stream, by stream."""


def waiting_payloads(connection: "psycopg.Connection[Any]", streams: Sequence[str]) -> dict[UUID, str]:
    """The payloads with lines that wait in some streams, and which."""
    if not streams:
        return {}
    rows = connection.execute(
        "SELECT DISTINCT drop_id, stream FROM entities._waiting WHERE stream = ANY(%s)", (list(streams),)
    )
    return dict(rows.fetchall())


def stage_waiting(
    connection: "psycopg.Connection[Any]",
    staging: Staging,
    entities: EntitySet,
    last: Payload,
    place: Mapping[UUID, int],
) -> None:
    """Stage what waited in a stream, some at a time, as if it came with the payload that ends it."""
    after: tuple[Any, int] = (UUID(int=0), -1)
    while True:
        waiting = connection.execute(
            "SELECT drop_id, record, raw FROM entities._waiting WHERE stream = %s AND (drop_id, record) > (%s, %s) "
            "ORDER BY drop_id, record LIMIT %s",
            (last.stream, *after, WAITING_AT_ONCE),
        ).fetchall()
        if not waiting:
            return
        parsed = parse(b"".join(raw + b"\r\n" for _, _, raw in waiting), entities, begins=False)
        for record, fault in parsed.faults.items():  # good once, before the definitions changed
            last.resolved[fault.entity or ""] += 1
            last.late[waiting[record][:2]] = fault
        for rows in parsed.rows:
            chosen = [waiting[int(record)] for record in rows.records]
            last.resolved[rows.entity.entity] += len(rows)
            staging.add_mixed(
                rows,
                at=[place[drop_id] for drop_id, _, _ in chosen],
                records=[record for _, record, _ in chosen],
                sees=[place[last.drop.id]] * len(chosen),
            )
        after = waiting[-1][:2]


def keep_waiting(connection: "psycopg.Connection[Any]", payloads: Sequence[Payload]) -> None:
    """Keep lines of streams that go on, until what they reference has come or the stream ends. Those of a rebuild may be there."""
    rows = []
    for one in payloads:
        if not one.open:
            continue
        first_line, first_byte = one.first
        for record in one.missing:
            line = one.parsed.line(record)
            place = (first_line + line.number, first_byte + line.offset)
            rows.append((one.stream, one.drop.id, record, *place, line.raw))
    if rows:
        connection.execute(
            """
            INSERT INTO entities._waiting (stream, drop_id, record, line, "offset", raw)
            SELECT * FROM unnest(%s::text[], %s::uuid[], %s::integer[], %s::bigint[], %s::bigint[], %s::bytea[])
            ON CONFLICT DO NOTHING
            """,
            [list(column) for column in zip(*rows, strict=True)],
        )


def late_faults(connection: "psycopg.Connection[Any]", last: Payload) -> list[Fault]:
    """The lines of an ended stream that cannot be stored after all, as they stood in the stream."""
    if not last.late:
        return []
    rows = connection.execute(
        """
        SELECT drop_id, record, line, "offset", raw FROM entities._waiting
        JOIN unnest(%s::uuid[], %s::integer[]) AS asked (drop_id, record) USING (drop_id, record)
        WHERE stream = %s ORDER BY line, drop_id
        """,
        ([drop_id for drop_id, _ in last.late], [record for _, record in last.late], last.stream),
    ).fetchall()
    found = []
    for drop_id, record, line, offset, raw in rows:
        fault = last.late[drop_id, record]
        found.append(
            Fault(
                record=-1, line=line, offset=offset, code=fault.code, message=fault.message,
                entity=fault.entity, field=fault.field, raw=raw,
            )
        )  # fmt: skip
    return found


def end_streams(connection: "psycopg.Connection[Any]", streams: Sequence[str]) -> None:
    """Nothing waits in these streams any more."""
    if streams:
        connection.execute("DELETE FROM entities._waiting WHERE stream = ANY(%s)", (list(streams),))
