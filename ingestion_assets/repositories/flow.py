"""The repositories flow's face towards the spine: one partition and one lane a repository, runs on the queue `gpu`."""

from datetime import datetime

import msgspec

from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.flows import Command, Flow, Keys, Runs, Scope

NAME = "repositories"
SCOPE = "repos"
JOB = "job"  # the attribute that says which job a payload belongs to
LONGEST_S = 6 * 3600
DAY_S = 24 * 3600


class Submission(msgspec.Struct, frozen=True):
    """What lands: the canonical name of a repository, and the branch, tag or commit that is meant where it is not the default branch."""

    repository: str
    ref: str | None = None

    @property
    def partition(self) -> str:
        """Its key among the partitions: `host/owner/name`, `host/owner/name@ref`."""
        return self.repository if self.ref is None else f"{self.repository}@{self.ref}"


def partition_of(_received_at: datetime, subject: str | None = None) -> str:
    """The repository."""
    if subject is None:
        raise ValueError("a submission needs its repository")
    return subject


def submission_drop(
    submission: Submission, *, job: int, principal: str, attributes: dict[str, str]
) -> NewDrop:
    """A submission on its way to landing storage. `principal` is the one whose job it is: landed twice for the same job, it is there once."""
    key = submission.partition
    return NewDrop(
        flow=NAME, partition=key, lane=key, subject=key, principal=principal, body=msgspec.json.encode(submission),
        records=1, idempotency_key=f"job-{job}", attributes={**attributes, JOB: str(job)},
    )  # fmt: skip


REPOSITORIES = Flow(
    name=NAME,
    scope=Scope(name=SCOPE),
    receipts_shared=True,  # one job stands for the submissions of several
    partitions=Keys(name=NAME),
    partition_of=partition_of,
    # Its queue is short and says itself how long one may wait in it, so waiting is no fault of the flow.
    runs=Runs(queue="gpu", longest_s=LONGEST_S, waits_normally_s=DAY_S),
    assets=("queue", "ingestion_log"),
    definitions="ingestion_assets.repositories.definitions:definitions",
    http="ingestion_assets.repositories.api:HTTP",
    work=("ingestion_assets.repositories.work",),
    warm=(
        "ingestion_assets.repositories.scratch:begin",
        "ingestion_assets.repositories.live_workers:begin",
        "ingestion_assets.embedding.answering:begin_answering",
    ),
    settings="ingestion_assets.repositories.settings:RepositoriesSettings",
    migrations="ingestion_assets.repositories:migrations",
    sealed=("repositories.credentials.sealed",),
    histories=("repositories.jobs",),
    shown_by=("repos", "demo"),
    commands=(
        Command(
            name="repos",
            module="ingestion_assets.repositories.cli",
            help="Submit, watch and search repositories of code.",
        ),
    ),
)
