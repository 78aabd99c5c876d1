"""Jobs as rows: created, controlled by people, begun and ended by runs, and kept in agreement with the ledger.

A job's payload in the ledger says whether a run may take it; the job's row says how that is called. Both change in one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import msgspec
import sqlalchemy as sa

from ingestion_assets.documents.flow import NAME, JobPayload
from ingestion_assets.documents.job_control import OVER, Action, NotAllowedError, Status, status_after
from ingestion_assets.documents.job_events import tell_job
from ingestion_assets.documents.job_files import Held, hold, left
from ingestion_assets.landing import holding, wanted


class KeyConflictError(Exception):
    """The idempotency key was used before, for another request."""


class NotLandedError(Exception):
    """The payload that runs are to take has not landed: the job is just being created, or was not over when it was to be tried again."""


@dataclass(frozen=True, slots=True)
class Made:
    """A job that was created: `drop_id` is None until its payload has landed, `again` says that its key was used before."""

    job_id: str
    drop_id: UUID | None
    again: bool = False


_KNOWN = sa.text("""
    SELECT known.sha256, job.id, job.drop_id FROM documents.idempotency_keys known JOIN documents.jobs job ON job.id = known.job_id
    WHERE known.principal = :principal AND known.key = :key
""")
_KEEP_KEY = sa.text("""
    INSERT INTO documents.idempotency_keys (principal, key, sha256, job_id) VALUES (:principal, :key, :sha256, :job_id)
""")
_LOCK_KEY = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended('documents ' || :principal || ' ' || :key, 0))"
)
_INSERT = sa.text("""
    INSERT INTO documents.jobs (id, user_id, name, description, priority, status, selections, options, sealed_passwords, model, principal, origin,
                                total_files, estimated_ms, queued_at)
    VALUES (:job_id, :user_id, :name, :description, :priority, :status, CAST(:selections AS jsonb), CAST(:options AS jsonb), :sealed_passwords, :model,
            :principal, :origin, :total_files, :estimated_ms, CASE :status WHEN 'queued' THEN clock_timestamp() END)
    ON CONFLICT (id) DO NOTHING RETURNING id
""")
_INSERT_FILES = sa.text("""
    INSERT INTO documents.files (job_id, number, connection_id, source_type, file_id, name, path, size, mime, digest, modified)
    SELECT :job_id, file.number, connection_id, source_type, file_id, name, path, size, mime, digest, modified
    FROM jsonb_to_recordset(CAST(:files AS jsonb)) AS file (number int, connection_id text, source_type text, file_id text, name text,
         path text, size bigint, mime text, digest text, modified timestamptz)
""")
_LANDED = sa.text("UPDATE documents.jobs SET drop_id = :drop_id WHERE id = :job_id AND drop_id IS NULL")
_GIVE_UP = sa.text("DELETE FROM documents.jobs WHERE id = :job_id AND drop_id IS NULL")
_SET = sa.text("""
    UPDATE documents.jobs SET status = :status, error = :error,
        queued_at = CASE WHEN :status IN ('queued', 'retrying') THEN clock_timestamp() ELSE queued_at END,
        started_at = CASE :status WHEN 'retrying' THEN NULL WHEN 'running' THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,
        ended_at = CASE WHEN :status IN ('completed', 'failed', 'cancelled') THEN clock_timestamp() END,
        retries = retries + (:status = 'retrying')::int,
        drop_id = coalesce(CAST(:drop_id AS uuid), drop_id)
    WHERE id = :job_id
""")


def insert(
    connection: sa.Connection,
    payload: JobPayload,
    *,
    principal: str,
    estimated_ms: int | None = None,
    key: str | None = None,
    sha256: bytes = b"",
    status: Status = "pending",
) -> Made:
    """Make the job's rows, unless they are there, or the key was used for the same request. Raises `KeyConflictError`."""
    if key is not None:
        connection.execute(_LOCK_KEY, {"principal": principal, "key": key})
        if (known := made_before(connection, principal=principal, key=key, sha256=sha256)) is not None:
            return known
    values = {name: getattr(payload, name) for name in _FACTS} | {
        "status": status, "principal": principal, "total_files": len(payload.files), "estimated_ms": estimated_ms,
        "selections": _json(payload.selections), "options": _json(payload.options),
    }  # fmt: skip
    if connection.execute(_INSERT, values).one_or_none() is None:
        return Made(payload.job_id, None, again=True)
    files = [
        {"number": number, **msgspec.to_builtins(file)} for number, file in enumerate(payload.files, start=1)
    ]
    connection.execute(_INSERT_FILES, {"job_id": payload.job_id, "files": _json(files)})
    if key is not None:
        values = {"principal": principal, "key": key, "sha256": sha256, "job_id": payload.job_id}
        connection.execute(_KEEP_KEY, values)
    tell_job(connection, payload.user_id, payload.job_id)
    return Made(payload.job_id, None)


def made_before(connection: sa.Connection, *, principal: str, key: str, sha256: bytes) -> Made | None:
    """The job that was created with the same key. Raises `KeyConflictError` where that was for another request."""
    known = connection.execute(_KNOWN, {"principal": principal, "key": key}).one_or_none()
    if known is None:
        return None
    if known.sha256 != sha256:
        raise KeyConflictError
    return Made(known.id, known.drop_id, again=True)


def landed(connection: sa.Connection, job_id: str, drop_id: UUID) -> None:
    """The job's payload is on landing storage."""
    connection.execute(_LANDED, {"job_id": job_id, "drop_id": drop_id})


def find_landed(connection: sa.Connection, job_id: str) -> UUID | None:
    """The payload of a job that was not told that it landed; it is now."""
    drop = connection.scalar(_FIND_DROP, {"flow": NAME, "job_id": job_id})
    if drop is not None:
        landed(connection, job_id, drop)
    return drop


def give_up(connection: sa.Connection, job_id: str) -> None:
    """Nothing landed for the job, and nothing will: there is no such job."""
    connection.execute(_GIVE_UP, {"job_id": job_id})


def control(
    connection: sa.Connection,
    job_id: str,
    action: Action,
    *,
    failed_only: bool = True,
    codes: Sequence[str] | None = None,
    retry_drop: UUID | None = None,
) -> Status:
    """Do with the job what a person wants; `retry_drop` is the payload that landed for a retry. Gives the status afterwards.

    Raises `NotAllowedError`, `NotLandedError`, `LookupError`.
    """
    job = hold(connection, job_id)
    status = cast("Status", job.status)
    try:
        after = status_after(status, action)
    except KeyError:
        raise NotAllowedError(status, action) from None
    if after is None:
        return status
    drop = _drop_of(connection, job_id)
    if action == "start":
        holding.let_go(connection, drop, flow=NAME, attributes={})
    elif action == "pause":
        wanted.pause(connection, drop)
    elif action == "resume":
        wanted.resume(connection, drop)
        after = "running" if _is_claimed(connection, drop) else "queued"
    elif action == "cancel":
        wanted.cancel(connection, drop)
    elif action == "retry":
        if retry_drop is None:  # it was not over yet when its payload was to land
            raise NotLandedError
        job.afresh(connection, failed_only=failed_only, codes=codes)
        holding.let_go(connection, retry_drop, flow=NAME, attributes={})
    set_status(connection, job, after, drop_id=retry_drop)
    if action == "cancel":
        job.cancel(connection)
    tell_job(connection, job.user_id, job_id)
    return after


def begin(connection: sa.Connection, payload: JobPayload, *, principal: str, holder: str) -> Held | None:
    """A run takes the job. None where there is nothing to do for it: it is over, or is not known (any more)."""
    if payload.files:
        insert(connection, payload, principal=principal, status="queued")
    try:
        job = hold(connection, payload.job_id)
    except LookupError:
        return None
    if job.status in OVER:
        return None
    job.release_lost(connection, holder)
    if job.status in {"queued", "retrying", "pending"}:
        set_status(connection, job, "running")
        tell_job(connection, job.user_id, job.job_id)
    return job


def conclude(
    connection: sa.Connection, job_id: str, *, holder: str, outranked: bool
) -> tuple[Status, dict[str, int]]:
    """A run stops working on the job: what it still has in hand waits again, and if nothing is left the job is over. Gives the status, and
    the files by outcome."""
    job = hold(connection, job_id)
    status = cast("Status", job.status)
    job.put_back(connection, holder)
    if status not in OVER:
        counts = _counts(connection, job_id)
        if not left(connection, job_id)[0]:
            status = "failed" if counts["failed"] else "completed"
        elif outranked and status == "running":
            status = "queued"
        if status != job.status:
            set_status(connection, job, status)
            tell_job(connection, job.user_id, job_id)
    return status, _counts(connection, job_id)


_FACTS = ("job_id", "user_id", "name", "description", "priority", "model", "origin", "sealed_passwords")
_COUNTS = sa.text("""
    SELECT completed_files AS completed, failed_files AS failed, skipped_files AS skipped, total_files AS total
    FROM documents.jobs WHERE id = :job_id
""")
_DROP = sa.text("SELECT drop_id FROM documents.jobs WHERE id = :job_id")
_FIND_DROP = sa.text("""
    SELECT drops.id FROM documents.jobs job
    JOIN ingestion.drops ON drops.principal = job.principal AND drops.flow = :flow AND drops.idempotency_key = job.id
    WHERE job.id = :job_id
""")
_CLAIMED = sa.text("SELECT state = 'claimed' FROM ingestion.drops WHERE id = :drop_id")


def _counts(connection: sa.Connection, job_id: str) -> dict[str, int]:
    return dict(connection.execute(_COUNTS, {"job_id": job_id}).one()._mapping)


def _drop_of(connection: sa.Connection, job_id: str) -> UUID:
    drop = connection.scalar(_DROP, {"job_id": job_id}) or find_landed(connection, job_id)
    if drop is None:
        raise NotLandedError
    return drop


def _is_claimed(connection: sa.Connection, drop_id: UUID) -> bool:
    return bool(connection.scalar(_CLAIMED, {"drop_id": drop_id}))


def set_status(
    connection: sa.Connection,
    job: Held,
    status: Status,
    *,
    error: str | None = None,
    drop_id: UUID | None = None,
) -> None:
    """Write down the status of a job that is held, with the times that follow from it."""
    connection.execute(_SET, {"job_id": job.job_id, "status": status, "error": error, "drop_id": drop_id})


def _json(value: Sequence[Any] | Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
