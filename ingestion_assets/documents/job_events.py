"""What is told of jobs and files: messages in the tables, numbered by user without gaps, written with what they tell of.

Whoever writes one holds the user's row until the commit, so they become visible in their order. Rows are locked in one order
everywhere: the job, its files, the user.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

CHANNEL = "documents_events"
"""NOTIFY says whose messages there are more of."""
KEPT_S = 24 * 3600.0
FORGOTTEN_AT_ONCE = 10_000

_STEPS = """
    CASE file.status WHEN 'pending' THEN CASE WHEN file.not_before > clock_timestamp() THEN 'Waiting for another try' ELSE 'Waiting' END
         WHEN 'accessing' THEN 'Accessing file' WHEN 'downloading' THEN 'Downloading content' WHEN 'parsing' THEN 'Parsing content'
         WHEN 'chunking' THEN 'Creating chunks' WHEN 'embedding' THEN 'Generating embeddings' WHEN 'storing' THEN 'Storing in database'
         WHEN 'completed' THEN 'Completed' WHEN 'failed' THEN 'Failed' ELSE 'Skipped, as it is stored already' END
"""
FILE = f"""jsonb_build_object(
    'file_id', file.file_id, 'status', file.status, 'progress', file.progress, 'current_step', {_STEPS},
    'attempts', file.attempts, 'pages', file.pages, 'chunks', file.chunks,
    'started_at', file.started_at, 'completed_at', file.ended_at,
    'processing_time_ms', round(extract(epoch FROM file.ended_at - file.started_at) * 1000),
    'warnings', file.warnings,
    'error', CASE WHEN file.error_code IS NOT NULL THEN jsonb_build_object('code', file.error_code, 'stage', file.error_stage,
        'page', file.error_page, 'message', file.error, 'retryable', file.retryable) END,
    'file_metadata', jsonb_build_object('name', file.name, 'path', file.path, 'size', file.size, 'mime_type', file.mime,
        'source_type', file.source_type))"""
"""SQL: a row `file` of `documents.files` as clients see it."""
PROGRESS = """
    CASE WHEN {total} = 0 THEN 0 ELSE ({progress} * 10 / {total})::numeric / 10 END
"""
JOB = f"""jsonb_build_object(
    'job_id', job.id, 'user_id', job.user_id, 'name', job.name, 'description', job.description, 'status', job.status,
    'priority', job.priority, 'created_at', job.created_at, 'queued_at', job.queued_at, 'started_at', job.started_at,
    'completed_at', job.ended_at, 'total_files', job.total_files, 'completed_files', job.completed_files,
    'failed_files', job.failed_files, 'skipped_files', job.skipped_files,
    'progress_percentage', {PROGRESS.format(total="job.total_files", progress="job.progress")},
    'estimated_duration_ms', job.estimated_ms, 'origin', job.origin, 'error', job.error)"""
"""SQL: a row `job` of `documents.jobs` as clients see it."""
FILE_MESSAGE = f"""jsonb_build_object('type', 'file_progress', 'job_id', file.job_id, 'source_type', file.source_type,
    'connection_id', file.connection_id, 'file', {FILE})"""
JOB_MESSAGE = f"jsonb_build_object('type', 'job_update', 'job', {JOB})"
TOLD = f"""
    numbered AS (SELECT message, row_number() OVER (ORDER BY rank, number) AS place, count(*) OVER () AS messages FROM messages),
    counted AS (
        INSERT INTO documents.users AS known (user_id, sequence)
        SELECT :user_id, messages FROM numbered LIMIT 1
        ON CONFLICT (user_id) DO UPDATE SET sequence = known.sequence + excluded.sequence
        RETURNING sequence
    ), told AS (
        INSERT INTO documents.events (user_id, sequence, job_id, message)
        SELECT :user_id, counted.sequence - messages + place, :job_id, message FROM numbered, counted
    ), notified AS (SELECT pg_notify('{CHANNEL}', :user_id) FROM counted)
"""
"""SQL: further parts of a WITH whose part `messages` (message, rank, number) is told; `notified` must be read."""

_TELL_JOB = sa.text(f"""
    WITH messages AS (SELECT {JOB_MESSAGE} AS message, 0 AS rank, 0 AS number FROM documents.jobs job WHERE id = :job_id), {TOLD}
    SELECT count(*) FROM notified
""")
_LATER = sa.text("""
    SELECT sequence, at, message FROM documents.events
    WHERE user_id = :user_id AND sequence > :after AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
    ORDER BY sequence LIMIT :limit
""")
_ENDS = sa.text("""
    SELECT coalesce((SELECT sequence FROM documents.users WHERE user_id = :user_id), 0) AS newest,
           coalesce((SELECT min(sequence) FROM documents.events WHERE user_id = :user_id),
                    (SELECT sequence + 1 FROM documents.users WHERE user_id = :user_id), 1) AS oldest
""")
_FORGET = sa.text("""
    DELETE FROM documents.events WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM documents.events WHERE at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :most))
""")


def tell_job(connection: sa.Connection, user_id: str, job_id: str) -> None:
    """Tell of the job as it is now."""
    connection.execute(_TELL_JOB, {"user_id": user_id, "job_id": job_id})


def later(
    connection: sa.Connection, user_id: str, job_id: str | None, *, after: int, limit: int
) -> Sequence[sa.Row[Any]]:
    """The user's messages, or one job's, after a number, in order."""
    values = {"user_id": user_id, "job_id": job_id, "after": after, "limit": limit}
    return connection.execute(_LATER, values).all()


def ends(connection: sa.Connection, user_id: str) -> tuple[int, int]:
    """The numbers of the user's oldest message that is kept, and of the newest."""
    row = connection.execute(_ENDS, {"user_id": user_id}).one()
    return row.oldest, row.newest


def forget(connection: sa.Connection) -> int:
    """Delete some of what was told long ago. Gives how many: `FORGOTTEN_AT_ONCE` where there is more."""
    return connection.execute(_FORGET, {"kept_s": KEPT_S, "most": FORGOTTEN_AT_ONCE}).rowcount
