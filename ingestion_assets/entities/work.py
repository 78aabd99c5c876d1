"""What a run does with its claim: loads it, a bounded piece at a time; may be repeated, by the same process or another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import psycopg
import sqlalchemy as sa

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import LOCK
from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.loading import load
from ingestion_assets.entities.payload import MISSING_REFERENCE, stream_of
from ingestion_assets.entities.results import outcome_of, settled
from ingestion_assets.entities.told_outcomes import forget_told
from ingestion_assets.landing import claims, drop_queries
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.landing.isolation import Worked, work_through
from ingestion_assets.landing.late_segments import register_late
from ingestion_assets.landing.leases import LaneBusyError
from ingestion_assets.landing.record_outcomes import rejected_with, revise
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.stores.refusals import refusal_of


class NotLoadedError(Exception):
    """PostgreSQL refuses what is no single row's fault; says what, without a word of the payload."""


@dataclass(slots=True)
class EntitiesWork:
    """The load of one claim."""

    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    entities: Callable[[], EntitySet]
    """What is active."""
    max_bytes: int
    is_transient: Callable[[BaseException], bool]
    _worked: Worked[Loaded] | None = None
    _lost: dict[UUID, set[int]] = field(default_factory=dict)
    """Records of payloads that were done, which were stored then and reference nothing now."""

    def loaded(self) -> list[Loaded]:
        """Load the claim; what became of each payload."""
        return self._work().results

    def failed(self) -> list[DropOutcome]:
        """The payloads that could not be loaded at all."""
        return self._work().failed

    def _work(self) -> Worked[Loaded]:
        if self._worked is None:
            groups = self.claim.chunks(self.max_bytes)
            self._worked = work_through(groups, self._load, is_transient=self.is_transient)
        return self._worked

    def _load(self, refs: Sequence[DropRef]) -> list[Loaded]:
        drops = claims.load(self.storage, refs)
        counted = {ref.id for ref in refs if ref.state != "done"}
        ends = [one for one in drops if one.attributes.get("stream_end") == "true" and one.id in counted]
        if ends:  # a part that was accepted while the ledger was down may have no row yet
            register_late(self.engine, self.storage)
        with self.engine.begin() as connection:
            for drop in ends:
                self._check_earlier_parts(connection, drop)
            raw = connection.connection.driver_connection
            if raw is None:
                raise RuntimeError("the connection is closed")
            raw.execute(LOCK)  # after which the tables and the active definitions agree until the end
            # A worker that stood still until others took its payloads must not write. Under the lock: while it is held nobody else loads,
            # and whoever comes next finds what was said of these payloads.
            claims.check_held(connection, self.claim, counted)
            done = [ref.id for ref in refs if ref.state == "done"]
            stay_out = rejected_with(connection, done, code=MISSING_REFERENCE)
            try:
                loaded = load(raw, self.entities(), drops, counted=counted, stay_out=stay_out)
            except psycopg.Error as error:
                if self.is_transient(error):
                    raise
                raise NotLoadedError(
                    refusal_of(error)
                ) from None  # what PostgreSQL says may quote the payload
            forget_told(connection)  # the load has made the tables where there were none
        for one in loaded:
            if one.drop_id in stay_out:
                self._lost[one.drop_id] = _missing(one) - stay_out[one.drop_id].keys()
        return loaded

    def _check_earlier_parts(self, connection: sa.Connection, drop: LandedDrop) -> None:
        """What waits in a stream is settled when all its parts are in. Raises `LaneBusyError`, which will pass."""
        if stream_of(drop) is None:
            return
        mine = [ref.id for ref in self.claim.drops]
        open_parts = drop_queries.count_open_before(connection, drop, attribute="stream", apart_from=mine)
        if open_parts:
            raise LaneBusyError(
                f"{open_parts} earlier parts of the stream {drop.attributes['stream']} are not in yet"
            )

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each payload. Where a stream ended, its earlier receipts say by now what became of what waited."""
        received = {ref.id: ref.received_at for ref in self.claim.drops}
        now = self.claim.clock.time()
        ended = {source: refused for one in self.loaded() for source, refused in one.settled.items()}
        made = [outcome_of(one, received_at=received[one.drop_id], finished_at=now) for one in self.loaded()]
        made = [_not_rebuilt(one, lost) if (lost := self._lost.get(one.drop_id)) else one for one in made]
        made = [
            replace(one, records=settled(one.records, ended[one.drop_id])) if one.drop_id in ended else one
            for one in made
        ]
        if others := sorted(ended.keys() - received.keys()):
            with self.engine.begin() as connection:
                revise(connection, others, lambda drop_id, records: settled(records, ended[drop_id]))
        return made + self.failed()


def _missing(loaded: Loaded) -> set[int]:
    return {fault.record for fault in loaded.faults if fault.code == MISSING_REFERENCE}


def _not_rebuilt(outcome: DropOutcome, lost: set[int]) -> DropOutcome:
    reason = (
        f"{len(lost)} rows that it had given reference what is not there; rebuild the days before it first"
    )
    return replace(outcome, failed=True, errors=[{"code": MISSING_REFERENCE, "reason": reason}])
