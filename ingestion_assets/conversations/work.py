"""What a run does with its claim, stage by stage; each stage may be repeated, by the same process or another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from msgspec import structs
from pymongo.database import Database

from ingestion_assets.conversations import statistics
from ingestion_assets.conversations.batches import BatchOutcome
from ingestion_assets.conversations.flow import NAME
from ingestion_assets.conversations.ingestion_log import outcome_of, write_log
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.conversations.shapes import paths_of
from ingestion_assets.conversations.statistics import Created, Refreshed
from ingestion_assets.conversations.todos import NOTHING, Kept, store_configs, store_todos
from ingestion_assets.landing import drift
from ingestion_assets.landing.claims import Claim, DropRef, load
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.isolation import Worked, work_through
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.stores.fencing import next_fence


@dataclass(slots=True)
class ConversationsWork:
    """The stages of one claim. What a stage needs of an earlier one it derives again where it is not in memory."""

    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    database: Database[Any]
    max_bytes: int
    sanitize: bool
    worktrees: bool
    is_transient: Callable[[BaseException], bool]
    _worked: Worked[BatchOutcome] | None = None
    _todos: dict[UUID, Kept] | None = None
    _configs: dict[UUID, Kept] | None = None

    def batches(self) -> list[BatchOutcome]:
        """Store the messages of the claim; what became of each batch, without its bytes."""
        return self._work().results

    def failed(self) -> list[DropOutcome]:
        """The drops that could not be stored at all."""
        return self._work().failed

    def _work(self) -> Worked[BatchOutcome]:
        if self._worked is None:
            groups = self.claim.chunks(self.max_bytes)
            self._worked = work_through(groups, self._store, is_transient=self.is_transient)
        return self._worked

    def _store(self, refs: Sequence[DropRef]) -> list[BatchOutcome]:
        batches = store_messages(
            database=self.database,
            engine=self.engine,
            drops=load(self.storage, refs),
            sanitize=self.sanitize,
            rebuild=self.claim.rebuild,
        )
        for batch in batches:
            drift.observe(self.engine, flow=NAME, drop_id=batch.drop.id, paths=paths_of(batch.shapes))
            batch.drop = structs.replace(batch.drop, body=b"")
        return batches

    def todos(self) -> dict[UUID, Kept]:
        """Store the todo lists; what became of them per drop."""
        if self._todos is None:
            self._todos = store_todos(database=self.database, batches=self.batches())
        return self._todos

    def configs(self) -> dict[UUID, Kept]:
        """Store the configurations; what became of them per drop."""
        if self._configs is None:
            self._configs = store_configs(database=self.database, batches=self.batches())
        return self._configs

    def sessions(self) -> Refreshed:
        """Compute the touched sessions anew."""
        return statistics.refresh_sessions(
            database=self.database, engine=self.engine, worktrees=self.worktrees
        )

    def projects(self) -> Refreshed:
        """Compute the touched projects anew."""
        return statistics.refresh_projects(database=self.database, engine=self.engine)

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each drop; also written to `ingestion_logs`."""
        batches = self.batches()
        with self.engine.connect() as connection:
            fence = next_fence(connection)
        created = statistics.created_by(self.engine, {batch.drop.id: batch.sessions for batch in batches})
        now = self.claim.clock.time()
        ended = [
            outcome_of(
                batch,
                created=created.get(batch.drop.id, Created(0, 0, [])),
                todos=self.todos().get(batch.drop.id, NOTHING),
                config=self.configs().get(batch.drop.id, NOTHING),
                finished_at=now,
            )
            for batch in batches
        ]
        open_drops = {ref.id: ref.received_at for ref in self.claim.drops if ref.state != "done"}
        write_log(
            database=self.database,
            outcomes=[outcome for outcome in ended if outcome.drop_id in open_drops],
            received=open_drops,
            fence=fence,
        )
        return ended + self.failed()
