"""Payloads into tables, in one transaction: what was read is staged, checked, written and remembered together.

A load that is repeated (a killed run, a retry) finds what it said of a payload the first time and says it again.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import zstandard
from psycopg.types.json import Jsonb

from ingestion_assets.entities.definition import EntitySet
from ingestion_assets.entities.lines import LineFault
from ingestion_assets.entities.parsing import Parsed, Rows, parse
from ingestion_assets.entities.staging import Missing, Staging, Written
from ingestion_assets.entities.tables import LOCK, ensure_tables
from ingestion_assets.landing.drops import LandedDrop

WAITING_AT_ONCE = 100_000
IDENTIFIED = 10_000
"""Payloads of up to so many records get an outcome with the row's identity for each."""
MISSING_REFERENCE = "missing_reference"
REDRIVEN = "redrive_of"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was not stored: where it stands (line from 1, byte from 0), why, and its bytes."""

    record: int
    line: int
    offset: int
    code: str
    message: str
    entity: str | None
    field: str | None
    raw: bytes


class Counts(msgspec.Struct, kw_only=True):
    """What became of the records of one entity: processed = inserted + updated + unchanged + failed + waiting.

    Of the payload that ends a stream, the left side also counts `resolved`: lines that had waited.
    """

    processed: int = 0
    resolved: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    waiting: int = 0


class Loaded(msgspec.Struct, kw_only=True):
    """What a load has to say of one payload. `waiting` are records whose references may still come in their stream."""

    drop_id: UUID
    records: int
    entities: dict[str, Counts] = {}
    faults: list[Fault] = []
    waiting: list[int] = []
    refused: bool = False
    ids: list[str | None] | None = None
    stream: str | None = None
    ended: bool = False

    def total(self) -> Counts:
        """The counts over all entities."""
        sums = Counts()
        for counts in self.entities.values():
            for name in Counts.__struct_fields__:
                setattr(sums, name, getattr(sums, name) + getattr(counts, name))
        return sums


@dataclass(slots=True)
class _Payload:
    drop: LandedDrop
    parsed: Parsed
    stream: str | None
    ends: bool
    limit: int | None
    missing: dict[int, Missing] = field(default_factory=dict)
    late: list[tuple[UUID, Missing]] = field(default_factory=list)
    """Lines that waited in the stream which this payload ends, and whose references never came."""
    resolved: Counter[str] = field(default_factory=Counter)
    ids: list[str | None] | None = None
    refused: bool = False

    @property
    def errors(self) -> int:
        return len(self.parsed.faults) + len(self.missing)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Loaded).decode


def stream_of(drop: LandedDrop) -> str | None:
    """The stream that a payload is a part of: streams belong to whoever sends them. Redriven records have left theirs."""
    name = drop.attributes.get("stream")
    return None if name is None or REDRIVEN in drop.attributes else f"{drop.principal}/{name}"


def load(
    connection: "psycopg.Connection[Any]",
    entities: EntitySet,
    drops: Sequence[LandedDrop],
    *,
    counted: Collection[UUID],
) -> list[Loaded]:
    """Write payloads into the tables, within the connection's transaction; what is said of each, in order.

    `counted` are those that were not finished before: only they count in the statistics, and only they are remembered.
    Raises `IncompatibleTableError`.
    """
    ensure_tables(connection, entities)
    connection.execute(LOCK)
    known = _known(connection, [drop.id for drop in drops if drop.id in counted])
    fresh = [_payload(drop, entities) for drop in drops if drop.id not in known]
    if fresh:
        for loaded in _load(connection, entities, fresh):
            known[loaded.drop_id] = loaded
        _remember(connection, [known[one.drop.id] for one in fresh if one.drop.id in counted])
    return [known[drop.id] for drop in drops]


def _payload(drop: LandedDrop, entities: EntitySet) -> _Payload:
    limit = None if REDRIVEN in drop.attributes else drop.attributes.get("max_errors")
    stream = stream_of(drop)
    return _Payload(
        drop, parse(drop.body, entities), stream, stream is not None and drop.attributes.get("stream_end") == "true",
        None if limit is None else int(limit),
    )  # fmt: skip


def _load(
    connection: "psycopg.Connection[Any]",
    entities: EntitySet,
    payloads: Sequence[_Payload],
) -> Iterator[Loaded]:
    ending = {one.stream: one for one in payloads if one.ends and one.stream is not None}
    sources = _waiting_sources(connection, list(ending))
    ids = sorted({*(one.drop.id for one in payloads), *sources})
    place = {drop_id: at for at, drop_id in enumerate(ids)}
    staging = Staging(connection, entities)
    _stage_payloads(staging, payloads, place, ending)
    for stream, last in ending.items():
        _stage_waiting(connection, staging, entities, stream, last, place)
    staging.analyze()
    by_place = {place[one.drop.id]: one for one in payloads}
    _resolve(staging, by_place, {place[source]: ending[stream] for source, stream in sources.items()}, ids)
    _keep_waiting(connection, payloads, ending)
    written = staging.upsert(dict(enumerate(ids)))
    late = _late_faults(connection, ending)
    if ending:
        connection.execute("DELETE FROM entities._waiting WHERE stream = ANY(%s)", (list(ending),))
    mine: dict[UUID, dict[str, Written]] = defaultdict(dict)
    fresh = {one.drop.id for one in payloads}
    for (at, entity), what in written.items():
        owner = ids[at] if ids[at] in fresh else ending[sources[ids[at]]].drop.id
        _add(mine[owner].setdefault(entity, Written()), what)
    for one in payloads:
        yield _loaded(one, mine[one.drop.id], late.get(one.stream or "", []) if one.ends else [], ending)


def _stage_payloads(
    staging: Staging,
    payloads: Sequence[_Payload],
    place: dict[UUID, int],
    ending: dict[str | None, _Payload] | dict[str, _Payload],
) -> None:
    merged: dict[str, tuple[Rows, list[int], list[int]]] = {}
    for one in payloads:
        at = place[one.drop.id]
        last = ending.get(one.stream) if one.stream is not None else None
        sees = place[last.drop.id] if last is not None else at
        if one.parsed.count <= IDENTIFIED:
            one.ids = _identities(one.parsed)
        for rows in one.parsed.rows:
            if not isinstance(rows.values, list):
                staging.add(rows, at=at, sees=sees)
                rows.values = rows.values.clear()
                continue
            together, places, seen = merged.setdefault(
                rows.entity.entity, (Rows(rows.entity, [], []), [], [])
            )
            together.records += rows.records  # pyright: ignore[reportOperatorIssue]
            together.values += rows.values  # pyright: ignore[reportOperatorIssue]
            places += [at] * len(rows)
            seen += [sees] * len(rows)
    for together, places, seen in merged.values():
        staging.add_mixed(together, at=places, records=together.records, sees=seen)


def _waiting_sources(connection: "psycopg.Connection[Any]", streams: Sequence[Any]) -> dict[UUID, str]:
    if not streams:
        return {}
    rows = connection.execute(
        "SELECT DISTINCT drop_id, stream FROM entities._waiting WHERE stream = ANY(%s)", (list(streams),)
    )
    return dict(rows.fetchall())


def _stage_waiting(
    connection: "psycopg.Connection[Any]",
    staging: Staging,
    entities: EntitySet,
    stream: str,
    last: _Payload,
    place: dict[UUID, int],
) -> None:
    """Stage what waited in a stream, some at a time, as if it came with the payload that ends it."""
    after: tuple[Any, int] = (UUID(int=0), -1)
    while True:
        waiting = connection.execute(
            "SELECT drop_id, record, raw FROM entities._waiting WHERE stream = %s AND (drop_id, record) > (%s, %s) "
            "ORDER BY drop_id, record LIMIT %s",
            (stream, *after, WAITING_AT_ONCE),
        ).fetchall()
        if not waiting:
            return
        parsed = parse(b"\r\n".join(raw for _, _, raw in waiting), entities)
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


def _resolve(
    staging: Staging, by_place: dict[int, _Payload], waited: dict[int, _Payload], ids: Sequence[UUID]
) -> None:
    """Take out what references nothing, and payloads with more errors than they may have, until all is settled."""
    while True:
        for missing in staging.take_out_missing():
            one = by_place.get(missing.at)
            if one is not None:
                one.missing[missing.record] = missing
            else:
                waited[missing.at].late.append((ids[missing.at], missing))
        refused = [
            at
            for at, one in by_place.items()
            if one.limit is not None and one.errors > one.limit and not one.refused
        ]
        for at in refused:
            by_place[at].refused = True
        if not refused or not staging.take_out_payloads(refused):
            return


def _keep_waiting(
    connection: "psycopg.Connection[Any]", payloads: Sequence[_Payload], ending: Collection[Any]
) -> None:
    """Keep lines of streams that go on, until what they reference has come or the stream ends."""
    rows = []
    for one in payloads:
        if one.stream is None or one.stream in ending:
            continue
        first_line, first_byte = _first(one.drop)
        for record in one.missing:
            line = one.parsed.line(record)
            rows.append(
                (
                    one.stream,
                    one.drop.id,
                    record,
                    first_line + line.number,
                    first_byte + line.offset,
                    line.raw,
                )
            )
    if rows:
        with (
            connection.cursor() as cursor,
            cursor.copy(
                'COPY entities._waiting (stream, drop_id, record, line, "offset", raw) FROM STDIN (FORMAT binary)'
            ) as copy,
        ):
            copy.set_types(["text", "uuid", "int4", "int8", "int8", "bytea"])
            for row in rows:
                copy.write_row(row)


def _late_faults(connection: "psycopg.Connection[Any]", ending: Any) -> dict[str, list[Fault]]:
    """The lines of ended streams whose references never came, as they stood in the stream."""
    found: dict[str, list[Fault]] = defaultdict(list)
    for stream, last in ending.items():
        wanted = {(drop_id, missing.record): missing for drop_id, missing in last.late}
        if not wanted:
            continue
        rows = connection.execute(
            """
            SELECT drop_id, record, line, "offset", raw FROM entities._waiting
            JOIN unnest(%s::uuid[], %s::integer[]) AS asked (drop_id, record) USING (drop_id, record)
            WHERE stream = %s ORDER BY line, drop_id
            """,
            ([drop_id for drop_id, _ in wanted], [record for _, record in wanted], stream),
        )
        for drop_id, record, line, offset, raw in rows:
            missing = wanted[drop_id, record]
            found[stream].append(
                Fault(
                    record=-1, line=line, offset=offset, code=MISSING_REFERENCE, message=missing.message,
                    entity=missing.entity, field=missing.field, raw=raw,
                )
            )  # fmt: skip
    return found


def _loaded(one: _Payload, written: dict[str, Written], late: list[Fault], ending: Collection[Any]) -> Loaded:
    open_stream = one.stream is not None and one.stream not in ending
    faults = [_fault(one, record, fault) for record, fault in one.parsed.faults.items()]
    if not open_stream:
        faults += [
            _fault(one, record, LineFault(MISSING_REFERENCE, missing.message, missing.entity, missing.field))
            for record, missing in one.missing.items()
        ]
    faults.sort(key=lambda fault: fault.record)
    counts: dict[str, Counts] = defaultdict(Counts)
    for rows in one.parsed.rows:
        counts[rows.entity.entity].processed += len(rows)
    for fault in one.parsed.faults.values():
        counts[fault.entity or ""].processed += 1
    for entity, number in one.resolved.items():
        counts[entity].resolved += number
    if one.refused:
        for each in counts.values():
            each.failed = each.processed
    else:
        for entity, what in written.items():
            each = counts[entity]
            each.inserted, each.updated, each.unchanged = what.inserted, what.updated, what.unchanged
        for fault in (*faults, *late):
            counts[fault.entity or ""].failed += 1
        if open_stream:
            for missing in one.missing.values():
                counts[missing.entity].waiting += 1
    return Loaded(
        drop_id=one.drop.id,
        records=one.parsed.count,
        entities=dict(counts),
        faults=faults + late,
        waiting=sorted(one.missing) if open_stream else [],
        refused=one.refused,
        ids=one.ids,
        stream=one.drop.attributes.get("stream"),
        ended=one.ends,
    )


def _identities(parsed: Parsed) -> list[str | None]:
    """What each record that was read is called: the entity and its primary key, `OrderLineItem/1/3`."""
    ids: list[str | None] = [None] * parsed.count
    for rows in parsed.rows:
        entity = rows.entity
        key = [entity.names.index(name) for name in entity.primary_key]
        for record, values in zip(rows.records, rows.tuples(), strict=True):
            ids[int(record)] = "/".join((entity.entity, *(values[place] or "" for place in key)))
    return ids


def _fault(one: _Payload, record: int, fault: LineFault) -> Fault:
    line = one.parsed.line(record)
    first_line, first_byte = _first(one.drop)
    return Fault(
        record=record, line=first_line + line.number, offset=first_byte + line.offset, code=fault.code,
        message=fault.message, entity=fault.entity, field=fault.field, raw=line.raw,
    )  # fmt: skip


def _first(drop: LandedDrop) -> tuple[int, int]:
    """Lines and bytes of the stream before this part of it."""
    if REDRIVEN in drop.attributes:
        return 0, 0
    return int(drop.attributes.get("first_line", 0)), int(drop.attributes.get("first_byte", 0))


def _add(sums: Written, more: Written) -> None:
    sums.inserted += more.inserted
    sums.updated += more.updated
    sums.unchanged += more.unchanged


def _known(connection: "psycopg.Connection[Any]", ids: Sequence[UUID]) -> dict[UUID, Loaded]:
    connection.execute(
        """
        DELETE FROM entities._loads USING ingestion.drops
        WHERE drops.id = _loads.drop_id AND drops.state = 'done'
        """
    )
    rows = connection.execute(
        "SELECT drop_id, outcome FROM entities._loads WHERE drop_id = ANY(%s)", (list(ids),)
    )
    return {drop_id: _decode(zstandard.decompress(outcome)) for drop_id, outcome in rows}


def _remember(connection: "psycopg.Connection[Any]", loaded: Sequence[Loaded]) -> None:
    """Note what is said of payloads and count it, so that a repetition says the same and counts nothing twice."""
    lasting = [one for one in loaded if not one.refused]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO entities._loads (drop_id, outcome) VALUES (%s, %s)",
            [(one.drop_id, zstandard.compress(_encode(one), 1)) for one in lasting],
        )
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in lasting:
        for entity, counts in one.entities.items():
            sums[entity][0] += counts.processed
            sums[entity][1] += counts.failed
    if sums:
        connection.execute(
            """
            INSERT INTO entities._tally AS tally (entity, processed, failed)
            SELECT * FROM jsonb_to_recordset(%s) AS more (entity text, processed bigint, failed bigint)
            ON CONFLICT (entity) DO UPDATE SET processed = tally.processed + excluded.processed,
                failed = tally.failed + excluded.failed
            """,
            (Jsonb([{"entity": name, "processed": n, "failed": bad} for name, (n, bad) in sums.items()]),),
        )
