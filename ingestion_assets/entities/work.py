"""What a run does with its claim: loads it, a bounded piece at a time; may be repeated, by the same process or another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from ingestion_assets.entities.definition import EntitySet
from ingestion_assets.entities.loading import Loaded, load, stream_of
from ingestion_assets.entities.results import outcome_of
from ingestion_assets.landing import claims
from ingestion_assets.landing.claims import Claim, DropRef, LaneBusyError
from ingestion_assets.landing.drops import DropOutcome, LandedDrop, Reject
from ingestion_assets.landing.storage import LandingStorage

_EARLIER_PARTS = sa.text("""
    SELECT count(*) FROM ingestion.drops
    WHERE flow = 'entities' AND partition = :partition AND state IN ('landed', 'claimed') AND principal = :principal
      AND id < :id AND id <> ALL(:mine) AND attributes ->> 'stream' = :stream AND NOT attributes ? 'redrive_of'
""")


@dataclass(slots=True)
class EntitiesWork:
    """The load of one claim."""

    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    entities: EntitySet
    max_bytes: int
    is_transient: Callable[[BaseException], bool]
    _loaded: list[Loaded] | None = None
    _failed: list[DropOutcome] = field(default_factory=list)

    def loaded(self) -> list[Loaded]:
        """Load the claim; what became of each payload."""
        if self._loaded is None:
            self._failed.clear()
            loaded: list[Loaded] = []
            for refs in self.claim.chunks(self.max_bytes):
                loaded += self._load(refs)
            self._loaded = loaded
        return self._loaded

    def _load(self, refs: Sequence[DropRef]) -> list[Loaded]:
        """Load some payloads; where that fails for a reason that will not pass, each alone, so that one fails alone."""
        try:
            return self._load_together(refs)
        except Exception as error:
            if self.is_transient(error):
                raise
            if len(refs) > 1:
                return [one for ref in refs for one in self._load([ref])]
            self._failed.append(_failed_drop(refs[0], error))
            return []

    def _load_together(self, refs: Sequence[DropRef]) -> list[Loaded]:
        drops = claims.load(self.storage, refs)
        counted = {ref.id for ref in refs if ref.state != "done"}
        with self.engine.begin() as connection:
            for drop in drops:
                if drop.attributes.get("stream_end") == "true" and drop.id in counted:
                    self._check_earlier_parts(connection, drop)
            raw = connection.connection.driver_connection
            if raw is None:
                raise RuntimeError("the connection is closed")
            return load(raw, self.entities, drops, counted=counted)

    def _check_earlier_parts(self, connection: sa.Connection, drop: LandedDrop) -> None:
        """What waits in a stream is settled when all its parts are in. Raises `LaneBusyError`, which will pass."""
        if stream_of(drop) is None:
            return
        open_parts = connection.scalar(
            _EARLIER_PARTS,
            {
                "partition": drop.partition,
                "principal": drop.principal,
                "id": drop.id,
                "mine": [ref.id for ref in self.claim.drops],
                "stream": drop.attributes["stream"],
            },
        )
        if open_parts:
            raise LaneBusyError(
                f"{open_parts} earlier parts of the stream {drop.attributes['stream']} are not in yet"
            )

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each payload."""
        received = {ref.id: ref.received_at for ref in self.claim.drops}
        now = datetime.now(UTC)
        return [
            outcome_of(one, received_at=received[one.drop_id], finished_at=now) for one in self.loaded()
        ] + self._failed

    def failed(self) -> list[DropOutcome]:
        """The payloads that could not be loaded at all."""
        self.loaded()
        return list(self._failed)


def _failed_drop(ref: DropRef, error: Exception) -> DropOutcome:
    reason = f"{type(error).__name__}: {error}"[:2000]
    return DropOutcome(
        ref.id,
        {},
        rejects=[Reject(-1, "payload", "processing_failed", reason, b"")],
        errors=[{"code": "processing_failed", "reason": reason}],
        failed=True,
    )
