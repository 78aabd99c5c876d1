"""How a run's work on its claim begins: its jobs, its scratch folder, its view of what is wanted of it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.repositories import index_jobs
from ingestion_assets.repositories.credentials import credential_for
from ingestion_assets.repositories.indexing import Indexing
from ingestion_assets.repositories.scratch import scratch_root
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.stage_watch import StageWatch
from ingestion_assets.repositories.submissions import submission_in
from ingestion_assets.repositories.work import RepositoryWork, models_of
from ingestion_assets.settings import Settings
from ingestion_assets.stores.scratch_folders import scratch_folder

Open = TypeVar("Open")


class Run(Protocol):
    """What a run of Dagster is to the work."""

    partition: str
    claim: Claim
    engine: sa.Engine
    settings: Settings

    def safe_point(self, drop: DropRef) -> Literal["continue", "pause", "cancel", "drain"]: ...
    def progress(self, drop: DropRef, state: Mapping[str, Any]) -> None: ...
    def keep_open(self, resource: AbstractContextManager[Open]) -> Open: ...


def begin(run: Run, settings: RepositoriesSettings) -> RepositoryWork:
    """The work on the run's claim. What it took goes when the run's claim ends."""
    submission = submission_in(run.partition)
    open_drops = [drop for drop in run.claim.drops if drop.state != "done"]
    with run.engine.begin() as connection:
        begun = {
            drop.id: index_jobs.begin(connection, drop, submission, ttl_s=settings.ttl_s)
            for drop in open_drops
        }
        credential = credential_for(connection, submission, run.settings)

    def asked_to_stop() -> bool:
        said = [run.safe_point(drop) for drop in run.claim.drops]
        return "drain" in said or (bool(said) and "continue" not in said)

    def tell(state: Mapping[str, Any]) -> None:
        for drop in open_drops:
            run.progress(drop, state)

    scratch = run.keep_open(scratch_folder(scratch_root(run.settings)))
    indexing = Indexing(
        submission=submission, claim=run.claim, engine=run.engine, settings=settings, models=models_of(settings),
        scratch=scratch, watch=StageWatch(tell), asked_to_stop=asked_to_stop,
        credential=credential,
    )  # fmt: skip
    return RepositoryWork(indexing, run.claim.drops, begun, afresh=run.claim.rebuild)
