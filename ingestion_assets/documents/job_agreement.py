"""Jobs and the ledger agree: what became of payloads by other ways than the flow's own is said by their jobs."""

from typing import Any

import sqlalchemy as sa

from ingestion_assets.documents.batch_jobs import find_landed, give_up, set_status
from ingestion_assets.documents.flow import NAME
from ingestion_assets.documents.job_control import Status
from ingestion_assets.documents.job_events import tell_job
from ingestion_assets.documents.job_files import hold
from ingestion_assets.landing import wanted

RESERVED_S = 60.0
"""For so long a job may lack its payload: then nothing landed, and nobody was told of it."""

_DISAGREE = sa.text("""
    SELECT job.id, job.status, drops.id AS drop_id, drops.state, drops.wanted, drops.errors -> 0 ->> 'code' AS code,
           drops.errors -> 0 ->> 'reason' AS reason
    FROM documents.jobs job LEFT JOIN ingestion.drops drops ON drops.id = job.drop_id
    WHERE job.status NOT IN ('completed', 'failed', 'cancelled') AND (
        drops.id IS NULL AND job.created_at < clock_timestamp() - make_interval(secs => :reserved_s)
        OR drops.state = 'failed'
        OR drops.state = 'landed' AND drops.errors -> 0 ->> 'code' = 'run_cancelled' AND job.status <> 'paused'
        OR drops.state = 'held' AND drops.wanted = 'pause' AND job.status <> 'paused'
        OR drops.state IN ('landed', 'claimed') AND drops.wanted IS NULL AND job.status IN ('pending', 'paused')
        OR drops.state = 'landed' AND job.status = 'running' AND drops.queued_at < clock_timestamp() - interval '5 s'
           AND NOT EXISTS (SELECT FROM ingestion.dispatches WHERE flow = :flow AND lane = job.id AND state = 'pending')
           AND NOT EXISTS (SELECT FROM ingestion.leases WHERE flow = :flow AND lane = job.id AND expires_at > clock_timestamp())
    )
""")
_STRAYS = sa.text("""
    SELECT drops.id FROM ingestion.drops
    WHERE drops.state = 'held' AND drops.flow = :flow AND drops.wanted IS NULL
      AND drops.received_at < clock_timestamp() - make_interval(secs => :reserved_s)
      AND NOT EXISTS (SELECT FROM documents.jobs job WHERE job.id = drops.lane
                      AND (job.drop_id IS NULL OR job.drop_id = drops.id AND job.status = 'pending'))
""")


def agree(connection: sa.Connection) -> int:
    """Have jobs say what became of their payloads by other ways than the flow's own: lost or cancelled runs, receipts that were paused or
    cancelled. Gives how many jobs it changed."""
    rows = connection.execute(_DISAGREE, {"reserved_s": RESERVED_S, "flow": NAME}).all()
    changed = 0
    for row in rows:
        job = hold(connection, row.id)
        if job.status != row.status:
            continue
        if row.drop_id is None:
            if find_landed(connection, row.id) is None:
                give_up(connection, row.id)
            changed += 1
            continue
        changed += 1
        status, error = _as_the_ledger_says(row)
        if status == "paused" and row.state == "landed":
            wanted.pause(connection, row.drop_id)
        set_status(connection, job, status, error=error)
        if status == "cancelled":
            job.cancel(connection)
        elif status == "failed":
            job.give_up(connection, error or "The job's run failed.")
        tell_job(connection, job.user_id, row.id)
    return changed


def cancel_strays(connection: sa.Connection) -> int:
    """Cancel held payloads that no job waits for: of a retry that came to nothing, of a job that was given up. Gives how many."""
    strays = connection.scalars(_STRAYS, {"flow": NAME, "reserved_s": RESERVED_S}).all()
    return sum(wanted.cancel(connection, stray) for stray in strays)


def _as_the_ledger_says(row: sa.Row[Any]) -> tuple[Status, str | None]:
    if row.state == "failed":
        return ("cancelled", None) if row.wanted == "cancel" else ("failed", row.reason)
    if row.state == "held":
        return "paused", None
    if row.state == "landed" and row.code == "run_cancelled":
        return "paused", "run_cancelled: its run was cancelled in Dagster; resume the job to have it go on"
    return ("running" if row.state == "claimed" else "queued"), None
