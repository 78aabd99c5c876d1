"""New jobs as rows: what lands for a request whose model and files are known, with the rows that stand for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.documents import batch_jobs, estimates
from ingestion_assets.documents.batch_jobs import Made
from ingestion_assets.documents.flow import FileEntry, JobPayload, at_once
from ingestion_assets.documents.job_requests import JobRequest
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import sealer


def payload_of(
    request: JobRequest, settings: Settings, *, model_id: str, files: Sequence[FileEntry], origin: str
) -> JobPayload:
    """What lands for a new job, its passwords sealed, so that a rebuild has them too."""
    job_id = f"job_{uuid_utils.compat.uuid7().hex}"
    passwords = request.processing_options.source_specific_options.passwords
    sealed = None
    if passwords:
        plain = msgspec.json.encode([one.get_secret_value() for one in passwords]).decode()
        sealed = sealer(settings).seal(plain, of=job_id)
    return JobPayload(
        job_id, request.user_id, request.name, request.description, request.priority, model_id, origin, request.selections(),
        request.stored_options(), files, sealed_passwords=sealed,
    )  # fmt: skip


def insert(
    connection: sa.Connection,
    request: JobRequest,
    payload: JobPayload,
    *,
    principal: str,
    key: str | None = None,
    sha256: bytes = b"",
    started: bool = False,
) -> Made:
    """Its rows, with an estimate; `started`: its payload lands so that runs take it. Raises `KeyConflictError`."""
    estimated = estimates.estimate_ms(
        connection, [one.name for one in payload.files], [one.size for one in payload.files],
        workers=request.processing_options.workers, jobs_at_once=at_once(),
    )  # fmt: skip
    return batch_jobs.insert(
        connection, payload, principal=principal, estimated_ms=estimated, key=key, sha256=sha256,
        status="queued" if started else "pending",
    )  # fmt: skip
