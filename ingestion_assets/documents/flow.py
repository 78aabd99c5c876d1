"""The documents flow's face towards the spine: one lane a job, partitions by day, runs on the queue `batch`."""

from collections.abc import Sequence

import msgspec

from ingestion_assets.documents.job_control import STEPS_OF, Priority
from ingestion_assets.landing.drops import HELD, PRIORITY, NewDrop
from ingestion_assets.landing.flows import Command, Days, Flow, Runs, Scope

NAME = "documents"
JOB = "job"  # the attribute that says which job a payload is about
LONGEST_S = 4 * 3600
DAY_S = 24 * 3600


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file as its source named it when the job was created."""

    connection_id: str
    source_type: str
    file_id: str
    name: str
    path: str
    size: int | None = None
    mime: str | None = None
    digest: str | None = None
    modified: str | None = None


class JobPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """What lands for a job: all that makes its rows; with `again`, the word that some of its files are done again. Passwords are sealed,
    bound to the job; where its row is there, that one has them by the newest key."""

    job_id: str
    user_id: str
    name: str = ""
    description: str | None = None
    priority: Priority = "normal"
    model: str = ""
    origin: str = "request"
    selections: Sequence[dict[str, object]] = ()
    options: dict[str, object] = {}
    files: Sequence[FileEntry] = ()
    again: str | None = None
    sealed_passwords: str | None = None


def job_drop(
    payload: JobPayload,
    *,
    partition: str,
    principal: str,
    attributes: dict[str, str],
    key: str,
    started: bool = False,
) -> NewDrop:
    """A job on its way to landing storage, where it is held unless it is started. Landed twice with the same key it is there once."""
    held = {} if started else {HELD: "until the job is started"}
    return NewDrop(
        flow=NAME, partition=partition, lane=payload.job_id, subject=payload.user_id, principal=principal,
        body=msgspec.json.encode(payload), records=len(payload.files), idempotency_key=key,
        attributes={**attributes, JOB: payload.job_id, **held, PRIORITY: str(STEPS_OF[payload.priority])},
    )  # fmt: skip


def at_once() -> int:
    """As many jobs as may run, and as there are workers: one that waits in the broker could not be overtaken."""
    from ingestion_assets.documents.settings import documents_settings  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415

    return max(1, min(documents_settings().max_concurrent_jobs, load_settings().workers_batch))


def aging_s() -> float:
    """Seconds of waiting that are worth a step of priority."""
    from ingestion_assets.documents.settings import documents_settings  # noqa: PLC0415

    return documents_settings().documents_aging_s


DOCUMENTS = Flow(
    name=NAME,
    scope=Scope(name=NAME, of="user"),
    partitions=Days(),
    # A job says itself what it waits for, so waiting is no fault of the flow.
    runs=Runs(
        queue="batch", at_once=at_once, longest_s=LONGEST_S, waits_normally_s=DAY_S, claim_at_most=1, aging_s=aging_s
    ),
    assets=("selections", "ingestion_log"),
    definitions="ingestion_assets.documents.definitions:definitions",
    http="ingestion_assets.documents.api:HTTP",
    work=("ingestion_assets.documents.work",),
    warm=("ingestion_assets.documents.work:begin_worker", "ingestion_assets.embedding.answering:begin_standing_in"),
    settings="ingestion_assets.documents.settings:DocumentsSettings",
    migrations="ingestion_assets.documents:migrations",
    sealed=("documents.connections.sealed", "documents.connections.sealed_passwords", "documents.jobs.sealed_passwords"),
    histories=("documents.jobs",),
    commands=(
        Command(name="documents", module="ingestion_assets.documents.cli", help="Connect sources of documents, run jobs over them, search them."),
    ),
    shown_by=("documents", "demo"),
    shown_with={"INGESTION_DOCUMENT_ROOTS": "{home}/sample-documents", "INGESTION_GOOGLE_DRIVE_URL": "http://127.0.0.1:18791"},
)  # fmt: skip
