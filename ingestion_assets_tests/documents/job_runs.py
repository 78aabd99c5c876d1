"""Stands in for the orchestrator alone: a run that is asked for does the flow's real work in a thread."""

import threading
import traceback
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ingestion_assets.documents.flow import NAME
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.work import DocumentsWork
from ingestion_assets.landing import claims, finishing, leases
from ingestion_assets.landing.claims import Claim
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.storage import LandingStorage, open_storage
from ingestion_assets.orchestration.long_work import LongWork
from ingestion_assets.settings import Settings
from ingestion_assets_tests.servers import wait_until


@dataclass(slots=True)
class Run:
    """One run at work; what `Working` is to the flow."""

    claim: Claim
    storage: LandingStorage
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


class JobRuns:
    """Runs of the flow, each in a thread of its own; `end` waits for them. `faults` are what ended runs raised."""

    def __init__(self, *, engine: sa.Engine, settings: Settings, chosen: DocumentsSettings) -> None:
        self.engine, self.settings, self.chosen = engine, settings, chosen
        self.faults: list[BaseException] = []
        self.works: list[DocumentsWork] = []
        self._threads: list[threading.Thread] = []

    def __call__(self, dispatch: Dispatch) -> None:
        if dispatch.lane.flow != NAME:
            return
        thread = threading.Thread(target=self._run, args=(dispatch,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        for thread in self._threads:
            thread.join(timeout=60)
        assert not self.faults, self.faults

    def claim(self, lane: Lane, dispatch_id: uuid.UUID | None = None) -> Run:
        """A run that has claimed what has landed in a lane."""
        run_id = str(uuid.uuid4())
        with self.engine.begin() as connection:
            claim = claims.claim_landed(
                connection, lane, claim_id=run_id, run_id=run_id, dispatch_id=dispatch_id, max_bytes=2**28, max_drops=1, lease_s=600,
            )  # fmt: skip
        return self.begun(claim)

    def rebuild(self, partition: str) -> list[DropOutcome]:
        """What a person does who materializes a day. A job that has ended may be held by its run for a moment."""
        wait_until(lambda: not self._held(partition), seconds=30, what="the day's lanes to be free")
        run_id = str(uuid.uuid4())
        with self.engine.begin() as connection:
            lanes = claims.partition_lanes(connection, flow=NAME, partition=partition)
            claim = claims.claim_partition(
                connection, lanes, flow=NAME, partition=partition, claim_id=run_id, run_id=run_id, lease_s=600, take_open=True,
            )  # fmt: skip
        return self.finish(self.begun(claim))

    def _held(self, partition: str) -> bool:
        query = "SELECT FROM ingestion.leases JOIN ingestion.drops USING (flow, lane) WHERE flow = :flow AND partition = :day"
        with self.engine.connect() as connection:
            return connection.execute(sa.text(query), {"flow": NAME, "day": partition}).first() is not None

    def begun(self, claim: Claim) -> Run:
        said: Callable[[str], object] = lambda _: None  # noqa: E731
        storage = open_storage(self.settings)
        return Run(claim, storage, self.engine, self.settings, LongWork(self.engine, claim, say=said))

    def finish(self, run: Run) -> list[DropOutcome]:
        """Do a run's work, to its end."""
        work = DocumentsWork(run, self.chosen)
        self.works.append(work)
        try:
            outcomes = work.outcomes()
            work.faults()
            run.long.flush()
            with self.engine.begin() as connection:
                finishing.finish(connection, run.claim, outcomes)
        finally:
            run.open.close()
        return outcomes

    def _run(self, dispatch: Dispatch) -> None:
        try:
            run = self.claim(dispatch.lane, dispatch.id)
            try:
                self.finish(run)
            except BaseException:
                with self.engine.begin() as connection:
                    finishing.give_back(
                        connection, run.claim.claim_id, error={"code": "run_failed"}, transient=False, delay_s=0, max_attempts=4,
                    )  # fmt: skip
                    leases.release(connection, run.claim.run_id)
                raise
        except BaseException as error:
            self.faults.append(error)
            traceback.print_exception(error)
