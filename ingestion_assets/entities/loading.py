"""Payloads into tables, in one transaction: what was read is staged, checked, written and remembered together.

A load that is repeated (a killed run, a retry) finds what it said of a payload the first time and says it again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import LOCK
from ingestion_assets.entities.evolution import IncompatibleTableError
from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.orphans import Orphans
from ingestion_assets.entities.parsing import Rows
from ingestion_assets.entities.payload import Payload, loaded_of, missing_fault, read_payload
from ingestion_assets.entities.refused_rows import RefusedRow
from ingestion_assets.entities.staging import RowsRefusedError, Staging
from ingestion_assets.entities.table_changes import ensure_tables
from ingestion_assets.entities.told_outcomes import known_loads, remember
from ingestion_assets.entities.waiting_lines import (
    Ending,
    end_streams,
    keep_waiting,
    late_faults,
    stage_waiting,
    waiting_payloads,
)
from ingestion_assets.entities.writing import Written
from ingestion_assets.landing.drops import LandedDrop


def load(
    connection: "psycopg.Connection[Any]",
    entities: EntitySet,
    drops: Sequence[LandedDrop],
    *,
    counted: Collection[UUID],
    stay_out: Mapping[UUID, Mapping[int, str]] = MappingProxyType({}),
) -> list[Loaded]:
    """Write payloads into the tables, within the connection's transaction; what is said of each, in order.

    `counted` are those that were not finished before: only they count in the statistics, and only they are remembered.
    `stay_out` are records of the others that referenced nothing then, with what was said of them: what came later changes that no more.
    Raises `IncompatibleTableError`.
    """
    try:
        ensure_tables(connection, entities)
    except IncompatibleTableError as error:
        # a lock, a full disk: nothing that the payloads should fail for
        passing = (one.error for one in error.refusals if isinstance(one.error, psycopg.OperationalError))
        raise next(passing, error) from None
    connection.execute(LOCK)
    known = known_loads(connection, [drop.id for drop in drops if drop.id in counted])
    fresh = [
        read_payload(drop, entities, stay_out=stay_out.get(drop.id, {}))
        for drop in drops
        if drop.id not in known
    ]
    if fresh:
        for loaded in _load(connection, entities, fresh):
            known[loaded.drop_id] = loaded
        remember(connection, [known[one.drop.id] for one in fresh if one.drop.id in counted])
    return [known[drop.id] for drop in drops]


def _load(
    connection: "psycopg.Connection[Any]", entities: EntitySet, payloads: Sequence[Payload]
) -> Iterator[Loaded]:
    ending = {one.stream: one for one in payloads if one.ends and one.stream is not None}
    for one in payloads:
        one.open = one.stream is not None and one.stream not in ending
    waited = waiting_payloads(connection, list(ending))
    ids = sorted({*(one.drop.id for one in payloads), *waited})
    place = {drop_id: at for at, drop_id in enumerate(ids)}
    staging = Staging(connection, entities)
    _stage_payloads(staging, payloads, place, ending)
    for last in ending.values():
        stage_waiting(connection, staging, entities, last, place)
    staging.analyze()
    by_place = {place[one.drop.id]: one for one in payloads}
    told = _Told(ids, by_place, {place[source]: ending[stream] for source, stream in waited.items()})
    written = _write(staging, told)
    keep_waiting(connection, payloads)
    late = {stream: late_faults(connection, last) for stream, last in ending.items()}
    end_streams(connection, list(ending))
    mine: dict[UUID, dict[str, Written]] = defaultdict(dict)
    for (at, entity), what in written.items():
        owner = told.owner(at)
        mine[owner.drop.id].setdefault(entity, Written()).add(what)
        if at in by_place:
            mine[owner.drop.id][entity].newer = what.newer
        else:
            owner.late_superseded |= {
                (ids[at], record): by for by, found in what.newer.items() for record in found
            }
    for one in payloads:
        ended = one.stream if one.ends else None
        settled = [source for source, stream in waited.items() if stream == ended]
        yield loaded_of(one, mine[one.drop.id], late=late.get(ended or "", []), settled=settled)


def _stage_payloads(
    staging: Staging,
    payloads: Sequence[Payload],
    place: Mapping[UUID, int],
    ending: Ending,
) -> None:
    merged: dict[str, tuple[Rows, list[int], list[int]]] = {}
    for one in payloads:
        at = place[one.drop.id]
        last = ending.get(one.stream) if one.stream is not None else None
        sees = place[last.drop.id] if last is not None else at
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


@dataclass(frozen=True, slots=True)
class _Told:
    """Where to note what is wrong with a staged row: with its payload, or the one that ends the stream it waited in."""

    ids: Sequence[UUID]
    by_place: Mapping[int, Payload]
    waited: Mapping[int, Payload]

    def owner(self, at: int) -> Payload:
        return self.by_place[at] if at in self.by_place else self.waited[at]

    def refused(self, rows: Sequence[RefusedRow]) -> None:
        for row in rows:
            if row.at in self.by_place:
                self.by_place[row.at].unstorable[row.record] = row.fault
            else:
                self.waited[row.at].late[self.ids[row.at], row.record] = row.fault

    def orphans(self, found: Orphans) -> None:
        for missing in found.missing:
            if missing.at in self.by_place:
                self.by_place[missing.at].missing[missing.record] = missing
            else:
                self.waited[missing.at].late[self.ids[missing.at], missing.record] = missing_fault(missing)
        for at in found.refused:
            self.by_place[at].refused = True

    def allowed(self) -> dict[int, int]:
        """How many more errors payloads may have."""
        return {
            at: one.limit - one.errors
            for at, one in self.by_place.items()
            if one.limit is not None and not one.refused
        }


def _write(staging: Staging, told: _Told) -> dict[tuple[int, str], Written]:
    """Write what can be written, once what cannot be is taken out: rows, what references them, payloads with too many errors."""
    told.refused(staging.take_out_refused())
    told.orphans(staging.take_out_orphans(allowed=told.allowed()))
    while True:
        try:
            return staging.upsert(dict(enumerate(told.ids)))
        except RowsRefusedError as error:
            told.refused(error.rows)
            gone = staging.take_out(error.rows)
            told.orphans(staging.take_out_orphans(allowed=told.allowed(), gone=gone))
