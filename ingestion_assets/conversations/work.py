"""What a run does with its claim, stage by stage; each stage may be repeated, by the same process or another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations import statistics
from ingestion_assets.conversations.flow import NAME
from ingestion_assets.conversations.ingestion_log import outcome_of, write_log
from ingestion_assets.conversations.messages import BatchOutcome, store_messages
from ingestion_assets.conversations.records import paths_of
from ingestion_assets.conversations.statistics import Created, Refreshed
from ingestion_assets.conversations.todos import store_configs, store_todos
from ingestion_assets.landing import drift
from ingestion_assets.landing.claims import Claim, DropRef, load
from ingestion_assets.landing.drops import DropOutcome, LandedDrop, Reject
from ingestion_assets.landing.storage import LandingStorage


@dataclass(slots=True)
class ConversationsWork:
    """The stages of one claim. What a stage needs of an earlier one it derives again where it is not in memory."""

    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    database: Database[Any]
    max_bytes: int
    sanitize: bool
    is_transient: Callable[[BaseException], bool]
    _batches: list[BatchOutcome] | None = None
    _failed: list[DropOutcome] = field(default_factory=list)
    _todos: dict[UUID, int] | None = None
    _configs: dict[UUID, bool] | None = None

    def batches(self) -> list[BatchOutcome]:
        """Store the messages of the claim; what became of each batch, without its bytes."""
        if self._batches is None:
            self._failed.clear()
            stored: list[BatchOutcome] = []
            for refs in self.claim.chunks(self.max_bytes):
                stored += self._store(refs)
            self._batches = stored
        return self._batches

    def _store(self, refs: Sequence[DropRef]) -> list[BatchOutcome]:
        """Store some drops; where that fails for a reason that will not pass, each alone, so that one fails alone."""
        try:
            batches = self._store_together(load(self.storage, refs))
        except Exception as error:
            if self.is_transient(error):
                raise
            if len(refs) > 1:
                return [batch for ref in refs for batch in self._store([ref])]
            self._failed.append(_failed_drop(refs[0], error))
            return []
        for batch in batches:
            batch.drop = replace(batch.drop, body=b"")
        return batches

    def _store_together(self, drops: Sequence[LandedDrop]) -> list[BatchOutcome]:
        batches = store_messages(
            database=self.database,
            engine=self.engine,
            drops=drops,
            sanitize=self.sanitize,
            rebuild=self.claim.rebuild,
        )
        for batch in batches:
            drift.observe(
                self.engine,
                flow=NAME,
                drop_id=batch.drop.id,
                paths=paths_of(batch.shapes),
            )
        return batches

    def todos(self) -> dict[UUID, int]:
        """Store the todo lists; files per drop."""
        if self._todos is None:
            self._todos = store_todos(database=self.database, batches=self.batches())
        return self._todos

    def configs(self) -> dict[UUID, bool]:
        """Store the configurations; whether a drop brought one."""
        if self._configs is None:
            self._configs = store_configs(database=self.database, batches=self.batches())
        return self._configs

    def sessions(self) -> Refreshed:
        """Compute the touched sessions anew."""
        return statistics.refresh_sessions(database=self.database, engine=self.engine)

    def projects(self) -> Refreshed:
        """Compute the touched projects anew."""
        return statistics.refresh_projects(database=self.database, engine=self.engine)

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each drop; also written to `ingestion_logs`."""
        batches = self.batches()
        created = statistics.created_by(self.engine, {batch.drop.id: batch.sessions for batch in batches})
        now = datetime.now(UTC)
        ended = [
            outcome_of(
                batch,
                created=created.get(batch.drop.id, Created(0, 0, [])),
                todos=self.todos().get(batch.drop.id, 0),
                config_updated=self.configs().get(batch.drop.id, False),
                finished_at=now,
            )
            for batch in batches
        ]
        open_drops = {ref.id: ref.received_at for ref in self.claim.drops if ref.state != "done"}
        write_log(
            database=self.database,
            outcomes=[outcome for outcome in ended if outcome.drop_id in open_drops],
            received=open_drops,
        )
        return ended + self._failed

    def failed(self) -> list[DropOutcome]:
        """The drops that could not be stored at all."""
        self.batches()
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
