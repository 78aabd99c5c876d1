"""What a run does with the payloads that it claimed: frame, read, store or hand over, and say what became of each record."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing import claims, drift
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.isolation import Worked, work_through
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.zones import kept
from ingestion_assets.zones.batch import Function
from ingestion_assets.zones.handing import Records, hand_over
from ingestion_assets.zones.payload_outcomes import Said, outcome_of
from ingestion_assets.zones.payloads import Payload, ReadSlice, Slice, ahead, framed, slices, uncollected
from ingestion_assets.zones.reading import field_names
from ingestion_assets.zones.record_types import Column, RecordType
from ingestion_assets.zones.tables.target import STORED, Rows, Table


@dataclass(slots=True)
class ZoneWork:
    """The work of one claim: its records go into `table`, or to `function`, which gets those of each `key` once.

    To be made in `Stages(start=…)`; `stored` is the stage of the table's or function's asset, `outcomes` what `ingestion_log` tells.
    """

    zone: str
    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    records: RecordType
    max_bytes: int
    is_transient: Callable[[BaseException], bool]
    path: str = "$"
    key: tuple[str, ...] = ()
    table: Table | None = None
    function: Function | None = None
    join: Callable[[], Sequence[DropRef]] = tuple
    """Has payloads join the claim while those before are stored; gives them, and none when it is time to end."""
    _worked: Worked[DropOutcome] | None = None

    def stored(self) -> Worked[DropOutcome]:
        """Store the claim; what became of its payloads."""
        if self._worked is None:
            groups = self.claim.chunks(self.max_bytes)
            self._worked = work_through(groups, self._way(), is_transient=self.is_transient)
        return self._worked

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each payload. The result's counts: received = stored + duplicate + superseded + rejected; `updated` of stored."""
        worked = self.stored()
        return worked.results + worked.failed

    def _way(self) -> Callable[[list[DropRef]], list[DropOutcome]]:
        if self.table is not None:
            return partial(self._store, self.table)
        if self.function is not None:
            return partial(self._hand_over, self.function)
        raise TypeError(f"the zone {self.zone} has neither a table nor a function")

    def _store(self, table: Table, refs: list[DropRef]) -> list[DropOutcome]:
        """Store the records of some payloads in a table, and of those that join all of the claim meanwhile; right to repeat.

        With a version, what a repetition would say depends on what came since, so what is said is remembered.
        """
        taken = _Taken()
        places: list[tuple[Sequence[UUID], Sequence[int]]] = []

        def parts() -> Iterator[Rows]:
            arriving = self._arriving(refs) if len(refs) == len(self.claim.drops) else iter([refs])
            for one in self._read(arriving, taken, remembered=table.shape.version is not None):
                rows = Rows(one.read.values, one.receipts(), one.positions())
                places.append((rows.receipts, rows.positions))
                yield rows

        with uncollected():
            told = table.store(parts())
        start = 0
        for receipts, positions in places:
            of_part = told[start : start + len(receipts)]
            start += len(receipts)
            if of_part.count(STORED) < len(of_part):
                for receipt, position, what in zip(receipts, positions, of_part, strict=True):
                    if what != STORED:
                        taken.said[receipt, position] = what
        outcomes = _outcomes(taken)
        if table.shape.version is not None:
            with self.engine.begin() as connection:
                self._tell(connection, taken.refs, outcomes)
        return taken.without_records + outcomes

    def _arriving(self, refs: list[DropRef]) -> Iterator[Sequence[DropRef]]:
        yield refs.copy()
        while joined := self.join():
            refs += joined
            yield joined

    def _hand_over(self, function: Function, refs: Sequence[DropRef]) -> list[DropOutcome]:
        """Hand the records of some payloads to the function, but for those that were by a run which did not come to tell it.

        What it did is remembered in one transaction after its return: between the two a crash hands over again.
        """
        with self.engine.connect() as connection:
            claims.check_held(connection, self.claim, [ref.id for ref in refs if ref.state != "done"])
        taken = _Taken()
        records = Records([], [], [], [])
        with uncollected():
            for one in self._read(iter([refs]), taken, remembered=True):
                records.instances += one.read.instances
                records.values += one.read.values
                records.receipts += one.receipts()
                records.positions += one.positions()
        columns: Sequence[Column] = self.records.columns
        with kept.one_at_a_time(self.engine, self.zone, when=bool(self.key)):
            handed = hand_over(
                function,
                records,
                engine=self.engine,
                zone=self.zone,
                columns=columns,
                key=self.key,
                again=self.claim.rebuild,
            )
            taken.said |= handed.said
            outcomes = _outcomes(taken)
            with self.engine.begin() as connection:
                kept.keep_keys(connection, self.zone, handed.keys, names=self.key, gone=handed.gone)
                self._tell(connection, taken.refs, outcomes)
        return taken.without_records + outcomes

    def _told(self, refs: Sequence[DropRef]) -> tuple[list[DropOutcome], Sequence[DropRef]]:
        """What a run that did not come to tell it said of payloads, and those of which nothing was. Those that are done are worked on
        anew: somebody rebuilds what they gave."""
        with self.engine.connect() as connection:
            known = kept.told(connection, [ref.id for ref in refs if ref.state != "done"])
        return list(known.values()), [ref for ref in refs if ref.id not in known]

    def _tell(
        self, connection: sa.Connection, refs: Sequence[DropRef], outcomes: Sequence[DropOutcome]
    ) -> None:
        """Remember what is said of those payloads that have no receipt yet which says it."""
        waiting = {ref.id for ref in refs if ref.state != "done"}
        kept.tell(connection, self.zone, [one for one in outcomes if one.drop_id in waiting])

    def _framed(
        self, groups: Iterator[Sequence[DropRef]], taken: "_Taken", *, remembered: bool
    ) -> Iterator[Payload]:
        for refs in groups:
            known, untold = self._told(refs) if remembered else ([], refs)
            taken.without_records += known
            taken.refs += untold
            for ref in untold:
                (drop,) = claims.load(self.storage, [ref])
                payload = framed(drop, path=self.path)
                if isinstance(payload, DropOutcome):
                    taken.without_records.append(payload)
                else:
                    taken.payloads.append(payload)
                    yield payload

    def _read(
        self, groups: Iterator[Sequence[DropRef]], taken: "_Taken", *, remembered: bool
    ) -> Iterator[ReadSlice]:
        """The good records of payloads that come in groups; what else there is to say of them is added to what is `taken`.

        `remembered`: what a run said that did not come to tell it is said again.
        """

        def read(one: Slice) -> ReadSlice:
            return ReadSlice(one, self.records.read(one.records, texts=one.texts))

        for one in ahead(map(read, slices(self._framed(groups, taken, remembered=remembered)))):
            for at, refusal in one.read.refused.items():
                taken.said[one.of.receipts[at], one.of.positions[at]] = refusal
            if one.read.unknown:
                self._tell_drift(one)
            yield one

    def _tell_drift(self, one: ReadSlice) -> None:
        found: dict[UUID, set[str]] = defaultdict(set)
        for at in one.read.positions:
            found[one.of.receipts[at]] |= one.read.unknown.intersection(field_names(one.of.records[at]))
        for receipt, names in found.items():
            drift.observe(self.engine, flow=self.zone, drop_id=receipt, paths={"": sorted(names)})
        self.records.told(one.read.unknown)


@dataclass(slots=True)
class _Taken:
    """The payloads that were read so far: where they lie, their records, what was said of these. Of some no record is to be worked on:
    they hold none, or a run that was lost has said what became of them."""

    refs: list[DropRef] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    said: Said = field(default_factory=dict)
    without_records: list[DropOutcome] = field(default_factory=list)


def _outcomes(taken: _Taken) -> list[DropOutcome]:
    others: dict[UUID, list[int]] = defaultdict(list)
    for receipt, position in sorted(taken.said):
        others[receipt].append(position)
    return [outcome_of(payload, taken.said, others[payload.id]) for payload in taken.payloads]
