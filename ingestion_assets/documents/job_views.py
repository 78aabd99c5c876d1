"""Jobs as clients see them: one with its sources and files, a page of them, statistics; and what a queued one waits for."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ingestion_assets.documents.flow import NAME, at_once
from ingestion_assets.documents.job_control import STEPS_OF
from ingestion_assets.documents.job_events import FILE, JOB, PROGRESS

_SOURCES = f"""(
    SELECT jsonb_agg(jsonb_build_object('source_type', source_type, 'connection_id', connection_id, 'total_files', total,
               'completed_files', completed, 'failed_files', failed, 'skipped_files', skipped,
               'progress_percentage', {PROGRESS.format(total="total", progress="progress")}, 'files', files) ORDER BY first)
    FROM (
        SELECT source_type, connection_id, min(number) AS first, count(*) AS total, sum(progress) AS progress,
               count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'skipped') AS skipped, jsonb_agg({FILE} ORDER BY number) AS files
        FROM documents.files file WHERE job_id = job.id GROUP BY source_type, connection_id
    ) source)"""
_ONE = sa.text(f"""
    SELECT {JOB} AS job, {_SOURCES} AS sources, job.options, job.model, job.status, job.priority, drops.state, drops.not_before,
           drops.errors -> 0 ->> 'reason' AS reason, job.queued_at, drops.queued_at AS waits_since,
           EXISTS (SELECT FROM ingestion.dispatches WHERE flow = :flow AND lane = job.id AND state = 'pending') AS asked_for,
           job.drop_id
    FROM documents.jobs job LEFT JOIN ingestion.drops drops ON drops.id = job.drop_id
    WHERE job.id = :job_id AND job.user_id = :user_id
""")
_OWNER = sa.text("SELECT user_id FROM documents.jobs WHERE id = :job_id")
_BRIEF = sa.text(f"SELECT {JOB} AS job FROM documents.jobs job WHERE id = :job_id")
_PAGE = sa.text(f"""
    SELECT {JOB} AS job FROM documents.jobs job
    WHERE user_id = :user_id AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(:statuses))
    ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset
""")
_NUMBER = sa.text("""
    SELECT count(*) FROM documents.jobs
    WHERE user_id = :user_id AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(:statuses))
""")
_BY = """(SELECT coalesce(jsonb_object_agg({key}, n), '{{}}') FROM (SELECT {key}, count(*) AS n FROM mine GROUP BY {key}) by_key)"""
_STATISTICS = sa.text(f"""
    WITH mine AS (SELECT * FROM documents.jobs WHERE user_id = :user_id),
    ended AS (
        SELECT file.source_type, file.status, extract(epoch FROM file.ended_at - file.started_at) * 1000 AS ms
        FROM documents.files file JOIN mine ON mine.id = file.job_id WHERE file.ended_at IS NOT NULL
    )
    SELECT jsonb_build_object(
        'total_jobs', (SELECT count(*) FROM mine),
        'active_jobs', (SELECT count(*) FROM mine WHERE status IN ('queued', 'running', 'retrying')),
        'completed_jobs', (SELECT count(*) FROM mine WHERE status = 'completed'),
        'failed_jobs', (SELECT count(*) FROM mine WHERE status = 'failed'),
        'cancelled_jobs', (SELECT count(*) FROM mine WHERE status = 'cancelled'),
        'total_files_processed', (SELECT count(*) FROM ended),
        'average_processing_time_ms', (SELECT coalesce(round(avg(ms)), 0) FROM ended WHERE status = 'completed'),
        'success_rate', (SELECT coalesce(round(100.0 * count(*) FILTER (WHERE status IN ('completed', 'skipped')) / nullif(count(*), 0), 1), 0)
                         FROM ended),
        'by_source_type', (SELECT coalesce(jsonb_object_agg(source_type, n), '{{}}')
                           FROM (SELECT source_type, count(*) AS n FROM ended GROUP BY source_type) by_source),
        'by_priority', {_BY.format(key="priority")},
        'by_status', {_BY.format(key="status")})
""")
# What goes before a job that waits: by priority and what it gained by waiting, then age, as the ledger decides.
_AHEAD = sa.text("""
    WITH waiting AS (
        SELECT lane, received_at, coalesce((attributes ->> 'priority')::int, 0) + 10 * floor(
                   greatest(0, extract(epoch FROM clock_timestamp() - coalesce(queued_at, received_at))) / :aging_s) AS rank
        FROM ingestion.drops WHERE flow = :flow AND state = 'landed' AND (not_before IS NULL OR not_before <= clock_timestamp())
    )
    SELECT (SELECT count(*) FROM waiting other, waiting own WHERE own.lane = :job_id AND other.lane <> own.lane
                AND (other.rank > own.rank OR other.rank = own.rank AND other.received_at < own.received_at)) AS ahead,
           (SELECT count(*) FROM ingestion.leases WHERE flow = :flow AND expires_at > clock_timestamp()) AS busy
""")


def owner(connection: sa.Connection, job_id: str) -> str | None:
    """Whose job it is; None where there is none."""
    return connection.scalar(_OWNER, {"job_id": job_id})


def is_pending(connection: sa.Connection, job_id: str) -> bool:
    """Whether it was not started yet."""
    job = brief(connection, job_id)
    return job is not None and job["status"] == "pending"


def brief(connection: sa.Connection, job_id: str) -> dict[str, Any] | None:
    """A job without its files."""
    return connection.scalar(_BRIEF, {"job_id": job_id})


def detailed(
    connection: sa.Connection, user_id: str, job_id: str, *, aging_s: float, idle: bool
) -> dict[str, Any] | None:
    """A job with its sources and files; None where the user has no such job. `idle`: no worker takes its queue."""
    row = connection.execute(_ONE, {"job_id": job_id, "user_id": user_id, "flow": NAME}).one_or_none()
    if row is None:
        return None
    return {
        **row.job, "source_progress": row.sources or [], "processing_options": row.options, "embedding_model": row.model,
        "pausing": row.status == "paused" and row.state == "claimed", "receipt_id": row.drop_id,
        "waiting_for": _waiting_for(connection, row, job_id, aging_s=aging_s, idle=idle),
    }  # fmt: skip


def page(
    connection: sa.Connection, user_id: str, *, statuses: Sequence[str] | None, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """A user's jobs, newest first, without their files; and how many there are."""
    values = {"user_id": user_id, "statuses": None if statuses is None else list(statuses)}
    jobs = [row.job for row in connection.execute(_PAGE, {**values, "limit": limit, "offset": offset})]
    return jobs, connection.execute(_NUMBER, values).scalar_one()


def statistics(connection: sa.Connection, user_id: str) -> dict[str, Any]:
    """Counts over a user's jobs and files."""
    return connection.execute(_STATISTICS, {"user_id": user_id}).scalar_one()


def _waiting_for(
    connection: sa.Connection, row: sa.Row[Any], job_id: str, *, aging_s: float, idle: bool
) -> Mapping[str, Any] | None:
    """What keeps a job from going on, in a word and a sentence."""
    if row.status not in {"queued", "running", "retrying"} or row.state not in {"landed", None}:
        return None
    since = row.waits_since or row.queued_at
    if row.state is None:
        return {
            "reason": "ledger",
            "since": since,
            "detail": "Its payload gets its row in the ledger shortly.",
        }
    if idle:
        return {
            "reason": "worker",
            "since": since,
            "detail": "No worker takes the queue batch: INGESTION_WORKERS_BATCH is 0.",
        }
    if row.reason is not None and row.not_before is not None:
        return {
            "reason": "backoff",
            "since": since,
            "until": row.not_before,
            "detail": f"Its last run ended early: {row.reason}",
        }
    if row.asked_for:
        return {
            "reason": "worker",
            "since": since,
            "detail": "A run is asked for and starts as soon as a worker is free.",
        }
    found = connection.execute(_AHEAD, {"flow": NAME, "job_id": job_id, "aging_s": aging_s}).one()
    most = at_once()
    return {
        "reason": "slot", "since": since, "position": found.ahead + 1,
        "detail": f"{found.busy} of {most} jobs are at work; {found.ahead} that wait go before it (priority {row.priority}, {STEPS_OF[row.priority]}).",
    }  # fmt: skip
