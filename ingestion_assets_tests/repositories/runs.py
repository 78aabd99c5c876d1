"""Stands in for the orchestrator alone: a run does the flow's real work on what has landed, in the calling thread."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing, leases
from ingestion_assets.landing.claims import Claim
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane
from ingestion_assets.orchestration.long_work import LongWork
from ingestion_assets.repositories.flow import NAME
from ingestion_assets.repositories.scratch import scratch_root
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.starting import begin
from ingestion_assets.repositories.work import RepositoryWork
from ingestion_assets.settings import Settings


@dataclass(slots=True)
class Run:
    """One run at work; what `Working` is to the flow."""

    partition: str
    claim: Claim
    engine: sa.Engine
    settings: Settings
    long: LongWork
    open: ExitStack = field(default_factory=ExitStack)

    def safe_point(self, drop: Any) -> Any:
        return self.long.safe_point(drop)

    def progress(self, drop: Any, state: Any) -> None:
        self.long.progress(drop, state)

    def keep_open(self, resource: AbstractContextManager[Any]) -> Any:
        return self.open.enter_context(resource)


@dataclass(slots=True)
class DirectRuns:
    """Runs by hand. `chosen` are the flow's settings."""

    engine: sa.Engine
    settings: Settings
    chosen: RepositoriesSettings

    @property
    def scratch(self) -> Path:
        return scratch_root(self.settings)

    def start(self, partition: str) -> tuple[Run, RepositoryWork]:
        """A run that has claimed what has landed for a repository, before it does any work."""
        run_id, lane = str(uuid.uuid4()), Lane(NAME, partition, partition)
        with self.engine.begin() as connection:
            claim = claims.claim_landed(
                connection,
                lane,
                claim_id=run_id,
                run_id=run_id,
                dispatch_id=None,
                max_bytes=2**28,
                lease_s=30,
            )
        return self._begin(partition, claim)

    def rebuild(self, partition: str) -> list[DropOutcome]:
        """What a person does who materializes the partition."""
        run_id = str(uuid.uuid4())
        with self.engine.begin() as connection:
            lanes = claims.partition_lanes(connection, flow=NAME, partition=partition)
            claim = claims.claim_partition(
                connection,
                lanes,
                flow=NAME,
                partition=partition,
                claim_id=run_id,
                run_id=run_id,
                lease_s=30,
                take_open=True,
            )
        return self.finish(*self._begin(partition, claim))

    def run(self, partition: str) -> list[DropOutcome]:
        """Work through what has landed for a repository, to the end."""
        return self.finish(*self.start(partition))

    def finish(self, run: Run, work: RepositoryWork) -> list[DropOutcome]:
        try:
            outcomes = work.outcomes()
            run.long.flush()
            with self.engine.begin() as connection:
                finishing.finish(connection, run.claim, outcomes)
        finally:
            run.open.close()
        return outcomes

    def lose(self, run: Run) -> None:
        """What becomes of a run whose process was killed."""
        with self.engine.begin() as connection:
            finishing.give_back(
                connection,
                run.claim.claim_id,
                error={"code": "run_lost"},
                transient=False,
                delay_s=0,
                max_attempts=4,
            )
            leases.release(connection, run.claim.run_id)

    def _begin(self, partition: str, claim: Claim) -> tuple[Run, RepositoryWork]:
        said: Callable[[str], object] = lambda _: None  # noqa: E731
        run = Run(partition, claim, self.engine, self.settings, LongWork(self.engine, claim, say=said))
        return run, begin(run, self.chosen)
