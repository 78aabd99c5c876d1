"""Jobs: the queue of repositories that wait, how many may, for how long, and what became of each.

A job is there from the moment that its place is taken, and has one outcome. Its payload lies on landing storage like all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.finishing import end_waiting
from ingestion_assets.landing.wanted import resume_paused
from ingestion_assets.repositories.flow import JOB, NAME, Submission

RESERVED_S = 60.0  # a place that was taken, and whose payload did not land since, is free again
EXPIRED = "Task exceeded TTL"

# Whoever comes next sees what the one before took: the statement has the queue for itself.
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('repositories.jobs'))")
# No run begins it meanwhile, and nobody pauses or cancels its payload: what is found of it holds until the place is taken.
_HOLD_STILL = sa.text("""
    WITH same AS MATERIALIZED (
        SELECT drop_id FROM repositories.jobs WHERE state = 'pending' AND partition = :partition FOR UPDATE
    )
    SELECT id FROM ingestion.drops WHERE id IN (SELECT drop_id FROM same) FOR UPDATE
""")
_TAKE_PLACE = sa.text("""
    WITH waiting AS MATERIALIZED (
        SELECT job.id FROM repositories.jobs job LEFT JOIN ingestion.drops ON drops.id = job.drop_id
        WHERE job.state = 'pending' AND CASE
            WHEN job.drop_id IS NULL THEN job.queued_at > clock_timestamp() - make_interval(secs => :reserved_s)
            WHEN drops.state = 'claimed' THEN true
            ELSE coalesce(drops.state, 'landed') IN ('landed', 'held') AND job.queued_at > clock_timestamp() - make_interval(secs => :ttl_s)
        END
    ), replayed AS MATERIALIZED (
        SELECT job.id, job.drop_id, job.partition, job.principal FROM repositories.idempotency_keys known
        JOIN repositories.jobs job ON job.id = known.job_id WHERE known.principal = :principal AND known.key = :key
    ), same AS MATERIALIZED (
        SELECT id, drop_id, principal FROM repositories.jobs
        WHERE state = 'pending' AND partition = :partition AND NOT EXISTS (SELECT FROM replayed)
    ), renewed AS (
        UPDATE repositories.jobs SET queued_at = clock_timestamp() WHERE id IN (SELECT id FROM same WHERE drop_id IS NOT NULL)
    ), added AS (
        INSERT INTO repositories.jobs (repository, ref, partition, principal)
        SELECT :repository, :ref, :partition, :principal
        WHERE NOT EXISTS (SELECT FROM same) AND NOT EXISTS (SELECT FROM replayed) AND (SELECT count(*) FROM waiting) < :most
        RETURNING id, drop_id, principal
    ), job AS (
        SELECT id, drop_id, principal, true AS again, true AS replayed, partition = :partition AS fits FROM replayed
        UNION ALL SELECT id, drop_id, principal, true, false, true FROM same
        UNION ALL SELECT id, drop_id, principal, false, false, true FROM added
    ), waiting_now AS MATERIALIZED (
        SELECT id FROM waiting UNION SELECT id FROM job WHERE NOT replayed
    ), noted AS (
        INSERT INTO repositories.idempotency_keys (principal, key, job_id)
        SELECT :principal, :key, id FROM job WHERE CAST(:key AS text) IS NOT NULL AND NOT replayed
    )
    SELECT job.id, job.drop_id, job.principal, coalesce(job.again, false) AS again, coalesce(job.replayed, false) AS replayed,
           coalesce(job.fits, true) AS fits, (SELECT count(*) FROM waiting_now) AS size,
           CASE WHEN job.id IN (SELECT id FROM waiting_now)
                THEN (SELECT count(*) FROM waiting_now WHERE waiting_now.id <= job.id) ELSE 0 END AS position
    FROM (SELECT 1) one LEFT JOIN job ON true
""")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue; 0 of a job that waits no longer. `id` is None where the queue is full; `drop_id`, where the payload has not
    landed yet. `principal`: whose job it is. `replayed`: the idempotency key was used before, for another repository where it does not fit."""

    id: int | None
    drop_id: UUID | None
    principal: str | None
    again: bool
    replayed: bool
    fits: bool
    size: int
    position: int


def take_place(
    connection: sa.Connection,
    submission: Submission,
    *,
    principal: str,
    most: int,
    ttl_s: float,
    key: str | None = None,
) -> Place:
    """A place for a repository, the one that it has where it waits already. `most` may wait; `key`: the idempotency key.

    Its time to live begins anew with each submission, and a payload that was paused goes on. A job that was cancelled, or is too old, has
    ended: it gets its outcome now, and the repository another job.
    """
    lock(connection)
    connection.execute(_FORGET, {"reserved_s": RESERVED_S, "partition": submission.partition})
    connection.execute(_HOLD_STILL, {"partition": submission.partition})
    note_ended(connection, submission.partition)
    _expire(connection, ttl_s=ttl_s, partition=submission.partition)
    values = {
        "repository": submission.repository, "ref": submission.ref, "partition": submission.partition,
        "principal": principal, "most": most, "reserved_s": RESERVED_S, "ttl_s": ttl_s, "key": key,
    }  # fmt: skip
    place = Place(**connection.execute(_TAKE_PLACE, values).one()._mapping)
    if place.drop_id is not None and not place.replayed:
        resume_paused(connection, place.drop_id)
    return place


def lock(connection: sa.Connection) -> None:
    """Have the queue for oneself until the transaction ends."""
    connection.execute(_LOCK)


_LANDED = sa.text("UPDATE repositories.jobs SET drop_id = :drop_id WHERE id = :id AND drop_id IS NULL")
_GIVE_UP = sa.text("DELETE FROM repositories.jobs WHERE id = :id AND drop_id IS NULL AND state = 'pending'")


def landed(connection: sa.Connection, job: int, drop_id: UUID) -> None:
    """The job's payload is on landing storage."""
    connection.execute(_LANDED, {"id": job, "drop_id": drop_id})


def give_up_place(connection: sa.Connection, job: int) -> None:
    """Nothing landed for the job, and nothing will: its place is free."""
    connection.execute(_GIVE_UP, {"id": job})


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run works on: the job, None where it has its outcome already; how long it waited, and whether that was too long."""

    id: int | None
    age_s: float = 0.0
    expired: bool = False


_FIND = sa.text("""
    SELECT job.id, job.state, job.drop_id = :drop_id AND drops.deferrals = 0 AND drops.wanted IS DISTINCT FROM 'cancel' AS redriven
    FROM repositories.jobs job LEFT JOIN ingestion.drops ON drops.id = :drop_id
    WHERE job.drop_id = :drop_id OR job.id = :job
    ORDER BY (job.drop_id = :drop_id) DESC NULLS LAST, job.id DESC LIMIT 1
""")
_ADD = sa.text("""
    INSERT INTO repositories.jobs (id, repository, ref, partition, principal, drop_id, queued_at, state, started_at)
    VALUES (coalesce(:job, nextval(pg_get_serial_sequence('repositories.jobs', 'id'))), :repository, :ref, :partition,
            :principal, :drop_id, :queued_at, 'running', clock_timestamp())
    RETURNING id
""")
_BEGIN = sa.text("""
    UPDATE repositories.jobs SET state = 'running', started_at = coalesce(started_at, clock_timestamp()),
           drop_id = coalesce(drop_id, :drop_id)
    WHERE id = :id AND ended_at IS NULL
    RETURNING id, extract(epoch FROM started_at - queued_at)::float8 AS age_s,
              extract(epoch FROM started_at - queued_at) > :ttl_s AS expired
""")


def begin(connection: sa.Connection, ref: DropRef, submission: Submission, *, ttl_s: float) -> Begun:
    """A run takes the payload. One that is sent again after it failed is a new job; one whose job has its outcome, none."""
    job = int(ref.attributes[JOB]) if JOB in ref.attributes else None
    found = connection.execute(_FIND, {"drop_id": ref.id, "job": job}).one_or_none()
    if found is None or (found.state in {"failed", "skipped"} and found.redriven):
        values = {
            "job": job if found is None else None, "repository": submission.repository, "ref": submission.ref,
            "partition": submission.partition, "principal": ref.principal, "drop_id": ref.id, "queued_at": ref.received_at,
        }  # fmt: skip
        if found is not None:
            values["queued_at"] = connection.scalar(sa.select(sa.func.clock_timestamp()))
        added = connection.execute(_ADD, values).scalar_one()
    elif found.state in {"pending", "running"}:
        added = found.id
    else:
        return Begun(None)
    begun = connection.execute(_BEGIN, {"id": added, "drop_id": ref.id, "ttl_s": ttl_s}).one_or_none()
    return Begun(None) if begun is None else Begun(begun.id, begun.age_s, begun.expired)


_END = sa.text("""
    UPDATE repositories.jobs SET state = :state, ended_at = clock_timestamp(), files_processed = :files_processed,
           embeddings_generated = :embeddings_generated, embeddings_reused = :embeddings_reused, unchanged = :unchanged,
           error = :error, reason = :reason
    WHERE id = :id AND ended_at IS NULL
""")
Ending = Literal["complete", "failed", "skipped"]


def end(connection: sa.Connection, job: int, state: Ending, facts: Mapping[str, Any]) -> None:
    """The job's outcome; the first one stays."""
    names = ("files_processed", "embeddings_generated", "embeddings_reused", "unchanged", "error", "reason")
    connection.execute(_END, {"id": job, "state": state, **{name: facts.get(name) for name in names}})


_ADOPT = sa.text(f"""
    INSERT INTO repositories.jobs (id, repository, ref, partition, principal, drop_id, queued_at)
    SELECT DISTINCT ON (partition) (attributes ->> '{JOB}')::bigint, split_part(partition, '@', 1),
           nullif(substr(partition, length(split_part(partition, '@', 1)) + 2), ''), partition, principal, id, received_at
    FROM ingestion.drops
    WHERE flow = '{NAME}' AND state = 'landed' AND attributes ? '{JOB}' AND NOT attributes ? 'alias_of'
      AND NOT EXISTS (SELECT FROM repositories.jobs job WHERE job.id = (attributes ->> '{JOB}')::bigint)
    ORDER BY partition, id
    ON CONFLICT DO NOTHING
""")
_LINK = sa.text(f"""
    UPDATE repositories.jobs job SET drop_id = drops.id FROM ingestion.drops
    WHERE job.state = 'pending' AND job.drop_id IS NULL AND drops.flow = '{NAME}' AND drops.partition = job.partition
      AND drops.state = 'landed' AND drops.attributes ->> '{JOB}' = job.id::text
""")
_FORGET = sa.text("""
    DELETE FROM repositories.jobs
    WHERE state = 'pending' AND drop_id IS NULL AND queued_at < clock_timestamp() - make_interval(secs => :reserved_s)
      AND (CAST(:partition AS text) IS NULL OR partition = :partition)
""")
# One that a run has just claimed is the run's to skip.
_EXPIRE = sa.text(f"""
    WITH late AS MATERIALIZED (
        SELECT job.id FROM repositories.jobs job JOIN ingestion.drops ON drops.id = job.drop_id
        WHERE job.state = 'pending' AND job.queued_at < clock_timestamp() - make_interval(secs => :ttl_s)
          AND drops.state IN ('landed', 'held') AND (CAST(:partition AS text) IS NULL OR job.partition = :partition)
        FOR UPDATE OF drops
    )
    UPDATE repositories.jobs job SET state = 'skipped', ended_at = clock_timestamp(), reason = '{EXPIRED}'
    FROM late WHERE job.id = late.id AND job.state = 'pending'
    RETURNING job.id, job.drop_id, extract(epoch FROM job.ended_at - job.queued_at)::float8 AS age_s
""")
_ENDED_ELSEWHERE = sa.text("""
    UPDATE repositories.jobs job SET state = 'failed', ended_at = coalesce(drops.finished_at, clock_timestamp()),
           error = coalesce(drops.errors -> 0 ->> 'reason', CASE drops.wanted WHEN 'cancel' THEN 'it was cancelled on request' END,
                            'it ended without a word')
    FROM ingestion.drops
    WHERE job.ended_at IS NULL AND drops.id = job.drop_id
      AND (drops.state IN ('failed', 'done') OR drops.wanted = 'cancel' AND job.state = 'pending')
      AND (CAST(:partition AS text) IS NULL OR job.partition = :partition)
""")


def note_ended(connection: sa.Connection, partition: str | None = None) -> None:
    """Give jobs, of one repository or all, their outcome whose payloads have ended without their run saying so."""
    connection.execute(_ENDED_ELSEWHERE, {"partition": partition})


def sweep(connection: sa.Connection, *, ttl_s: float) -> int:
    """Make jobs and ledger agree: what waited too long is skipped, what was cancelled or given up has its outcome, places without a
    payload are free, payloads without a job have one. Gives how many were skipped."""
    lock(connection)
    connection.execute(_ADOPT)
    connection.execute(_LINK)
    connection.execute(_FORGET, {"reserved_s": RESERVED_S, "partition": None})
    note_ended(connection)
    return _expire(connection, ttl_s=ttl_s)


def _expire(connection: sa.Connection, *, ttl_s: float, partition: str | None = None) -> int:
    expired = connection.execute(_EXPIRE, {"ttl_s": ttl_s, "partition": partition}).all()
    for job in expired:
        end_waiting(connection, job.drop_id, skipped(job.id, job.age_s))
    return len(expired)


def skipped(job: int | None, age_s: float) -> dict[str, Any]:
    """The result of a payload that waited too long."""
    return {"status": "skipped", "job_id": job, "reason": EXPIRED, "age_seconds": round(age_s)}


_HISTORY = sa.text("""
    SELECT id AS job_id, partition AS repo_url, state AS status, error, reason, files_processed, embeddings_generated,
           embeddings_reused, unchanged, ended_at AS timestamp,
           round(extract(epoch FROM ended_at - started_at), 3)::float8 AS duration_seconds,
           CASE state WHEN 'skipped' THEN round(extract(epoch FROM ended_at - queued_at))::bigint END AS age_seconds
    FROM repositories.jobs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, id DESC LIMIT :limit
""")


def history(connection: sa.Connection, *, limit: int) -> Sequence[dict[str, Any]]:
    """The jobs that have their outcome, newest first; of each what its outcome has."""
    rows = connection.execute(_HISTORY, {"limit": limit}).mappings()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
