"""Stands in for the orchestrator alone: a dispatched run does the flow's real work, in the thread that asks for it."""

import uuid

import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.modules.sync import RemovalGuard
from ingestion_assets.modules.work import ModulesWork
from ingestion_assets.orchestration.retries import is_transient


class DirectRuns:
    """Called with a dispatch like the real launcher."""

    def __init__(self, *, engine: sa.Engine, storage: LandingStorage) -> None:
        self._engine = engine
        self.storage = storage
        self.launched: list[Dispatch] = []
        self.paused = False

    def __call__(self, dispatch: Dispatch) -> None:
        self.launched.append(dispatch)
        if self.paused:
            return
        run_id = str(uuid.uuid4())
        with self._engine.begin() as connection:
            claim = claims.claim_landed(
                connection, dispatch.lane, claim_id=run_id, run_id=run_id, dispatch_id=dispatch.id,
                max_bytes=2**28, lease_s=30,
            )  # fmt: skip
        self.finish(claim)

    def rebuild(self, site_id: int) -> None:
        """What a backfill of the site's partition does."""
        run_id, partition = str(uuid.uuid4()), str(site_id)
        with self._engine.begin() as connection:
            lanes = claims.partition_lanes(connection, flow="modules", partition=partition)
            claim = claims.claim_partition(
                connection, lanes, flow="modules", partition=partition, claim_id=run_id, run_id=run_id, lease_s=30,
                take_open=True,
            )  # fmt: skip
        self.finish(claim)

    def finish(self, claim: claims.Claim) -> None:
        work = ModulesWork(
            claim=claim, site_id=int(claim.lanes[0].partition), storage=self.storage, engine=self._engine,
            guard=RemovalGuard(), is_transient=is_transient,
        )  # fmt: skip
        outcomes = work.outcomes()
        with self._engine.begin() as connection:
            finishing.finish(connection, claim, outcomes)
