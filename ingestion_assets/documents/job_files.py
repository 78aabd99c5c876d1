"""Files of a job, as rows: taken by a run under a lease, moved on from step to step, ended once.

Every change goes through `_changing`: in the same statement the job's counts follow and the change is told. The transaction must
hold the job's row (`hold`), so that a run and a person never change the same job side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from ingestion_assets.documents.file_errors import Code, FileError, FileLostError, as_columns
from ingestion_assets.documents.job_events import FILE_MESSAGE, JOB_MESSAGE, TOLD

Step = Literal["accessing", "downloading", "parsing", "chunking", "embedding", "storing"]
BEGUN_AT: Mapping[Step, int] = {
    "accessing": 0, "downloading": 5, "parsing": 20, "chunking": 45, "embedding": 50, "storing": 90,
}  # fmt: skip
"""A file's progress when a step begins: what the steps before it are worth."""
LEASE_S = 60.0
CRASHES_ALONE = 2  # from so many lost processes on a file is taken alone, so that a poisonous one falls alone
MOST_CRASHES = 6
PROCESSING = "('accessing', 'downloading', 'parsing', 'chunking')"
OVER = "('completed', 'failed', 'skipped')"


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file that a run has in hand."""

    job_id: str
    number: int
    connection_id: str
    source_type: str
    file_id: str
    name: str
    path: str
    size: int | None
    mime: str | None
    digest: str | None
    modified: datetime | None
    attempts: int
    crashes: int


def _changing(update: str) -> sa.TextClause:
    return sa.text(f"""
        WITH changed AS ({update} RETURNING file.*),
        delta AS (
            SELECT count(*) AS files, sum(changed.progress - before.progress) AS progress,
                   sum((changed.status = 'completed')::int - (before.status = 'completed')::int) AS completed,
                   sum((changed.status = 'failed')::int - (before.status = 'failed')::int) AS failed,
                   sum((changed.status = 'skipped')::int - (before.status = 'skipped')::int) AS skipped,
                   bool_or(changed.ended_at IS DISTINCT FROM before.ended_at) AS counts
            FROM changed JOIN documents.files before ON before.job_id = changed.job_id AND before.number = changed.number
        ), job AS (
            UPDATE documents.jobs job SET
                progress = job.progress + delta.progress, completed_files = completed_files + delta.completed,
                failed_files = failed_files + delta.failed, skipped_files = skipped_files + delta.skipped
            FROM delta WHERE job.id = :job_id AND delta.files > 0
            RETURNING job.*
        ), messages AS (
            SELECT {FILE_MESSAGE} AS message, 0 AS rank, file.number FROM changed file
            UNION ALL SELECT {JOB_MESSAGE}, 1, 0 FROM job, delta WHERE delta.counts
        ), {TOLD}
        SELECT (SELECT files FROM delta) AS files, (SELECT count(*) FROM notified) AS told
    """)


_HOLD = sa.text("SELECT user_id, status FROM documents.jobs WHERE id = :job_id FOR UPDATE")
# One slot goes to the job that has the fewest, then to the one that got none for the longest, of those that live and want one.
_ROOM = sa.text(f"""
    WITH held AS (
        SELECT job_id, count(*) FILTER (WHERE status IN {PROCESSING}) AS files FROM documents.files
        WHERE holder IS NOT NULL AND held_until > clock_timestamp() GROUP BY job_id
    ), wanting AS (
        SELECT job.id, coalesce(held.files, 0) AS files, job.leased_at
        FROM documents.jobs job JOIN ingestion.leases lease ON lease.flow = :flow AND lease.lane = job.id
        LEFT JOIN held ON held.job_id = job.id
        WHERE job.status IN ('running', 'retrying') AND lease.expires_at > clock_timestamp()
          AND EXISTS (SELECT FROM documents.files file WHERE file.job_id = job.id AND file.status = 'pending'
                      AND (file.not_before IS NULL OR file.not_before <= clock_timestamp()))
    ), ranked AS (SELECT id, row_number() OVER (ORDER BY files, leased_at, id) AS place, count(*) OVER () AS jobs FROM wanting)
    SELECT CAST(:cap AS int) - coalesce((SELECT sum(files) FROM held), 0)::int AS free,
           coalesce((SELECT files FROM held WHERE job_id = :job_id), 0) AS own, ranked.place, ranked.jobs
    FROM ranked WHERE ranked.id = :job_id
""")
_TAKE = _changing("""
    UPDATE documents.files file SET status = 'accessing', progress = 0, holder = :holder, not_before = NULL,
        held_until = clock_timestamp() + make_interval(secs => :lease_s), started_at = coalesce(started_at, clock_timestamp())
    FROM (
        SELECT number FROM documents.files
        WHERE job_id = :job_id AND status = 'pending' AND (not_before IS NULL OR not_before <= clock_timestamp())
          AND (crashes >= :alone_from) = :alone
        ORDER BY attempts, number LIMIT :most
    ) next WHERE file.job_id = :job_id AND file.number = next.number
""")
_TAKEN = sa.text(f"""
    SELECT {", ".join(JobFile.__dataclass_fields__)} FROM documents.files
    WHERE job_id = :job_id AND holder = :holder AND NOT number = ANY(:known) ORDER BY number
""")
_LEASED = sa.text("UPDATE documents.jobs SET leased_at = clock_timestamp() WHERE id = :job_id")
_RENEW = sa.text("""
    UPDATE documents.files SET held_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE job_id = :job_id AND holder = :holder
""")
_MOVE = _changing(f"""
    UPDATE documents.files file SET status = step.status, progress = step.progress
    FROM jsonb_to_recordset(CAST(:steps AS jsonb)) AS step (number int, status text, progress int)
    WHERE file.job_id = :job_id AND file.number = step.number AND file.holder = :holder AND file.status NOT IN {OVER}
      AND (file.status, file.progress) IS DISTINCT FROM (step.status, step.progress::smallint)
""")
_END = _changing(f"""
    UPDATE documents.files file SET status = :status, progress = 100, holder = NULL, held_until = NULL, attempts = attempts + 1,
        content_id = :content_id, mime = coalesce(:mime, mime), size = coalesce(:size, size), pages = :pages, chunks = :chunks,
        embedded = :embedded, took = CAST(:took AS jsonb), warnings = CAST(:warnings AS jsonb), ended_at = clock_timestamp(),
        error_code = :code, error_stage = :stage, error_page = :page, error = :sentence, retryable = :retryable
    WHERE file.job_id = :job_id AND file.number = :number AND file.holder = :holder AND file.status NOT IN {OVER}
""")
_LATER = _changing(f"""
    UPDATE documents.files file SET status = 'pending', progress = 0, holder = NULL, held_until = NULL, attempts = attempts + 1,
        not_before = clock_timestamp() + make_interval(secs => :delay_s),
        error_code = :code, error_stage = :stage, error_page = :page, error = :sentence, retryable = :retryable
    WHERE file.job_id = :job_id AND file.number = :number AND file.holder = :holder AND file.status NOT IN {OVER}
""")
_PUT_BACK = _changing(f"""
    UPDATE documents.files file SET status = 'pending', progress = 0, holder = NULL, held_until = NULL
    WHERE file.job_id = :job_id AND file.holder = :holder AND file.status NOT IN {OVER}
""")
_RELEASE_LOST = _changing(f"""
    UPDATE documents.files file SET crashes = crashes + lost, holder = NULL, held_until = NULL,
        status = CASE WHEN crashes + lost < {MOST_CRASHES} THEN 'pending' ELSE 'failed' END,
        progress = CASE WHEN crashes + lost < {MOST_CRASHES} THEN 0 ELSE 100 END,
        ended_at = CASE WHEN crashes + lost < {MOST_CRASHES} THEN NULL ELSE clock_timestamp() END,
        error_code = CASE lost WHEN 0 THEN error_code ELSE 'parser_crashed' END,
        error_stage = CASE WHEN lost = 0 OR file.status = 'pending' THEN error_stage ELSE file.status END,
        error = CASE lost WHEN 0 THEN error ELSE 'The process that worked on the file was lost ' || (crashes + lost) || ' times.' END,
        retryable = CASE lost WHEN 0 THEN retryable ELSE true END
    FROM (SELECT number, (holder <> :holder)::int AS lost FROM documents.files WHERE job_id = :job_id AND holder IS NOT NULL) held
    WHERE file.job_id = :job_id AND file.number = held.number
""")
_CANCEL = _changing(f"""
    UPDATE documents.files file SET status = 'failed', progress = 100, holder = NULL, held_until = NULL, ended_at = clock_timestamp(),
        error_code = 'cancelled', error_stage = CASE file.status WHEN 'pending' THEN 'accessing' ELSE file.status END, error_page = NULL,
        error = 'The job was cancelled before the file was done.', retryable = true
    WHERE file.job_id = :job_id AND file.status NOT IN {OVER}
""")
_GIVE_UP = _changing(f"""
    UPDATE documents.files file SET status = 'failed', progress = 100, holder = NULL, held_until = NULL, ended_at = clock_timestamp(),
        error_code = :code, error_stage = CASE file.status WHEN 'pending' THEN 'accessing' ELSE file.status END,
        error_page = NULL, error = :sentence, retryable = true
    WHERE file.job_id = :job_id AND file.status NOT IN {OVER}
""")
_AFRESH = _changing("""
    UPDATE documents.files file SET status = 'pending', progress = 0, attempts = 0, crashes = 0, not_before = NULL, holder = NULL,
        held_until = NULL, started_at = NULL, ended_at = NULL, error_code = NULL, error_stage = NULL, error_page = NULL, error = NULL,
        retryable = NULL, warnings = '[]', took = '{}'
    WHERE file.job_id = :job_id AND (NOT :failed_only OR file.status = 'failed')
      AND (CAST(:codes AS text[]) IS NULL OR file.error_code = ANY(:codes))
""")
_LEFT = sa.text(f"""
    SELECT count(*) FILTER (WHERE status NOT IN {OVER}) AS files,
           coalesce(extract(epoch FROM min(not_before) FILTER (WHERE status = 'pending') - clock_timestamp()), 0)::float8 AS due_s
    FROM documents.files WHERE job_id = :job_id AND status NOT IN {OVER}
""")


@dataclass(frozen=True, slots=True)
class Held:
    """A job whose row this transaction holds."""

    job_id: str
    user_id: str
    status: str

    def _run(self, connection: sa.Connection, change: sa.TextClause, **values: Any) -> int:
        given = {"job_id": self.job_id, "user_id": self.user_id, **values}
        return connection.execute(change, given).one().files

    def move(self, connection: sa.Connection, holder: str, steps: Mapping[int, tuple[Step, int]]) -> int:
        """Files, by number, have come to a step and a progress. Those that are no longer the holder's are passed over."""
        rows = [
            {"number": number, "status": step, "progress": progress}
            for number, (step, progress) in steps.items()
        ]
        return self._run(connection, _MOVE, holder=holder, steps=msgspec.json.encode(rows).decode())

    def end(
        self,
        connection: sa.Connection,
        holder: str,
        file: JobFile,
        status: Literal["completed", "failed", "skipped"],
        *,
        error: FileError | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """The file has its outcome. `facts`: content_id, mime, size, pages, chunks, embedded, took, warnings. Raises `FileLostError`."""
        known = dict(facts or {})
        known["took"] = msgspec.json.encode(known.get("took", {})).decode()
        known["warnings"] = msgspec.json.encode(known.get("warnings", [])).decode()
        names = ("content_id", "mime", "size", "pages", "chunks", "embedded")
        values = {name: known.get(name) for name in names} | {
            "took": known["took"], "warnings": known["warnings"], "status": status, "number": file.number, "holder": holder,
        }  # fmt: skip
        if not self._run(connection, _END, **values, **as_columns(error)):
            raise FileLostError(f"file {file.number} of {file.job_id} is no longer held by run {holder}")

    def again_later(
        self, connection: sa.Connection, holder: str, file: JobFile, error: FileError, *, delay_s: float
    ) -> None:
        """This attempt failed; the next one begins after a delay. Raises `FileLostError`."""
        values = {"number": file.number, "holder": holder, "delay_s": delay_s, **as_columns(error)}
        if not self._run(connection, _LATER, **values):
            raise FileLostError(f"file {file.number} of {file.job_id} is no longer held by run {holder}")

    def put_back(self, connection: sa.Connection, holder: str) -> int:
        """The run stops: what it has in hand waits again, which costs no attempt."""
        return self._run(connection, _PUT_BACK, holder=holder)

    def release_lost(self, connection: sa.Connection, holder: str) -> int:
        """A run begins: what an earlier one still holds was lost with its process."""
        return self._run(connection, _RELEASE_LOST, holder=holder)

    def cancel(self, connection: sa.Connection) -> int:
        """All that is not over ends as cancelled."""
        return self._run(connection, _CANCEL)

    def give_up(self, connection: sa.Connection, sentence: str, *, code: Code = "parser_crashed") -> int:
        """All that is not over fails: the job cannot go on."""
        return self._run(connection, _GIVE_UP, sentence=sentence[:2000], code=code)

    def afresh(
        self, connection: sa.Connection, *, failed_only: bool, codes: Sequence[str] | None = None
    ) -> int:
        """Have files done again: those that failed, or all; of these, where codes are named, those that failed with one."""
        given = None if codes is None else list(codes)
        return self._run(connection, _AFRESH, failed_only=failed_only, codes=given)

    def take(
        self,
        connection: sa.Connection,
        holder: str,
        *,
        flow: str,
        in_hand: Sequence[int],
        most: int,
        cap: int,
    ) -> list[JobFile]:
        """Files for the run to begin with: `most` at most, and no more than `cap` are processed at once over all jobs."""
        if most <= 0:
            return []
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended('documents.processing', 0))")
        )
        room = connection.execute(_ROOM, {"flow": flow, "job_id": self.job_id, "cap": cap}).one_or_none()
        if room is None:
            return []
        wanted = min(most, _share(room.free, own=room.own, place=room.place, jobs=room.jobs, cap=cap))
        if wanted <= 0:
            return []
        values = {"holder": holder, "lease_s": LEASE_S, "alone_from": CRASHES_ALONE}
        taken = self._run(connection, _TAKE, **values, most=wanted, alone=False)
        if not taken and not in_hand:
            taken = self._run(connection, _TAKE, **values, most=1, alone=True)
        if not taken:
            return []
        connection.execute(_LEASED, {"job_id": self.job_id})
        rows = connection.execute(_TAKEN, {"job_id": self.job_id, "holder": holder, "known": list(in_hand)})
        return [JobFile(**row._mapping) for row in rows]


def _share(free: int, *, own: int, place: int, jobs: int, cap: int) -> int:
    """How many of the free slots are a job's, which has `own` and stands at `place` among `jobs` that want some."""
    if place > free:
        return 0
    fair = -(-cap // jobs)
    return max(1 if own < fair else 0, min(free, fair - own))


def hold(connection: sa.Connection, job_id: str) -> Held:
    """The job, whose row nobody else changes until the transaction ends. Raises `LookupError`."""
    row = connection.execute(_HOLD, {"job_id": job_id}).one_or_none()
    if row is None:
        raise LookupError(f"there is no job {job_id}")
    return Held(job_id, row.user_id, row.status)


def renew(connection: sa.Connection, job_id: str, holder: str) -> None:
    """Keep the leases of what the run has in hand."""
    connection.execute(_RENEW, {"job_id": job_id, "holder": holder, "lease_s": LEASE_S})


def left(connection: sa.Connection, job_id: str) -> tuple[int, float]:
    """How many files are not over, and in how many seconds the next of those that wait is due."""
    row = connection.execute(_LEFT, {"job_id": job_id}).one()
    return row.files, row.due_s
