"""Which process executes which run, and that it is alive: the table `ingestion.run_heartbeats`.

The worker's parent process beats for the runs of its children that make progress, so a step that holds the GIL for long does
not look dead, and one that hangs does. What more a beat or an end means for a run is in `worker_runs.py`.
"""

import logging
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil
import sqlalchemy as sa

logger = logging.getLogger(__name__)

_CLAIM = sa.text("""
INSERT INTO ingestion.run_heartbeats AS h (run_id, worker, host, worker_pid, worker_start, pid, pid_start)
VALUES (:run_id, :worker, :host, :worker_pid, :worker_start, :pid, :pid_start)
ON CONFLICT (run_id) DO UPDATE SET
    worker = excluded.worker, host = excluded.host, worker_pid = excluded.worker_pid, worker_start = excluded.worker_start,
    pid = excluded.pid, pid_start = excluded.pid_start,
    started_at = now(), beat_at = now(), cancel_requested_at = NULL, ended_at = NULL, interrupt_reason = NULL,
    stop_requested_at = NULL
WHERE h.ended_at IS NOT NULL OR h.beat_at < now() - make_interval(secs => :lease_s)
RETURNING run_id
""")
_COLUMNS = "run_id, worker, host, worker_pid, worker_start, pid, pid_start, started_at, beat_at, cancel_requested_at, ended_at"
_LIVE = sa.text(
    f"SELECT {_COLUMNS} FROM ingestion.run_heartbeats WHERE worker = :worker AND ended_at IS NULL"
)
_BEAT = sa.text(
    "UPDATE ingestion.run_heartbeats SET beat_at = now() WHERE run_id = ANY(:run_ids) AND ended_at IS NULL"
)
_END = sa.text("""
UPDATE ingestion.run_heartbeats SET ended_at = now()
WHERE run_id = :run_id AND worker = :worker AND ended_at IS NULL
""")
_CANCEL = sa.text("""
UPDATE ingestion.run_heartbeats SET cancel_requested_at = coalesce(cancel_requested_at, now())
WHERE run_id = :run_id AND ended_at IS NULL RETURNING run_id
""")
_ASK_TO_STOP = sa.text("""
UPDATE ingestion.run_heartbeats SET stop_requested_at = now()
WHERE worker = :worker AND ended_at IS NULL AND stop_requested_at IS NULL
""")
_IS_ASKED_TO_STOP = sa.text(
    "SELECT stop_requested_at IS NOT NULL FROM ingestion.run_heartbeats WHERE run_id = :run_id AND ended_at IS NULL"
)
_INTERRUPT = sa.text("UPDATE ingestion.run_heartbeats SET interrupt_reason = :reason WHERE run_id = :run_id")
_INTERRUPT_REASON = sa.text("SELECT interrupt_reason FROM ingestion.run_heartbeats WHERE run_id = :run_id")
_ON_HOST = sa.text(f"SELECT {_COLUMNS} FROM ingestion.run_heartbeats WHERE host = :host AND ended_at IS NULL")
# A server that just came up gives everybody the time to beat again.
_ONE = sa.text(f"""
SELECT {_COLUMNS}, ended_at IS NULL
    AND greatest(beat_at, pg_postmaster_start_time()) > now() - make_interval(secs => :lease_s) AS fresh
FROM ingestion.run_heartbeats WHERE run_id = :run_id
""")
_SILENT = sa.text(f"""
SELECT {_COLUMNS} FROM ingestion.run_heartbeats
WHERE ended_at IS NULL AND greatest(beat_at, pg_postmaster_start_time()) < now() - make_interval(secs => :lease_s)
""")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TICKS = 19  # of the fields of `/proc/PID/stat` after the program's name
_PRUNE = sa.text("DELETE FROM ingestion.run_heartbeats WHERE ended_at < now() - interval '7 days'")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to its end, and what more is known of that: by itself or cut off, as a failure, by the death of its
    process (of which the system may have made memory), by its worker because it made no progress, by a person."""

    how: Literal["over", "failed", "lost", "out of memory", "stalled", "cancelled"]
    reason: str = ""


OVER = Ending("over")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One start of a worker: `id` is new with each start, `host` says where `pid` means something."""

    id: uuid.UUID
    host: str
    pid: int

    @classmethod
    def here(cls) -> "Worker":
        """A worker of its own for the calling process."""
        return cls(id=uuid.uuid4(), host=host_name(), pid=os.getpid())


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The row of one run. `pid` executes it, `worker_pid` beats for it; when each of both began, is as `process_start` tells it, None
    where that was not noted. Times are aware, and by PostgreSQL's clock: compare none of them with this host's."""

    run_id: str
    worker: uuid.UUID
    host: str
    worker_pid: int
    worker_start: str | None
    pid: int
    pid_start: str | None
    started_at: datetime
    beat_at: datetime
    cancel_requested_at: datetime | None
    ended_at: datetime | None


def host_name() -> str:
    """The host and the namespace that process ids count in, as containers may share a host name."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink() if namespace.exists() else ''}".strip()


def claim(engine: sa.Engine, *, run_id: str, worker: Worker, pid: int, lease_s: float) -> bool:
    """Say that `pid` executes the run from now on. False where a process that is alive does so already."""
    with engine.begin() as connection:
        return (
            connection.execute(
                _CLAIM,
                {
                    "run_id": run_id,
                    "worker": worker.id,
                    "host": worker.host,
                    "worker_pid": worker.pid,
                    "worker_start": process_start(worker.pid),
                    "pid": pid,
                    "pid_start": process_start(pid),
                    "lease_s": lease_s,
                },
            ).first()
            is not None
        )


def live(engine: sa.Engine, *, worker: Worker) -> list[Heartbeat]:
    """The runs that `worker` executes now."""
    with engine.begin() as connection:
        return [Heartbeat(**row) for row in connection.execute(_LIVE, {"worker": worker.id}).mappings()]


def beat(engine: sa.Engine, *, run_ids: Sequence[str]) -> None:
    """Renew the heartbeats of these runs."""
    with engine.begin() as connection:
        connection.execute(_BEAT, {"run_ids": list(run_ids)})


def end(engine: sa.Engine, *, run_id: str, worker: Worker) -> None:
    """Say that the worker no longer executes the run."""
    with engine.begin() as connection:
        connection.execute(_END, {"run_id": run_id, "worker": worker.id})


def request_cancel(engine: sa.Engine, *, run_id: str) -> bool:
    """Ask the worker of the run to interrupt it. False where no process executes it."""
    with engine.begin() as connection:
        return connection.execute(_CANCEL, {"run_id": run_id}).first() is not None


def ask_to_stop(engine: sa.Engine, *, worker: Worker) -> None:
    """Ask the worker's runs to end at their next safe point: it is about to stop."""
    with engine.begin() as connection:
        connection.execute(_ASK_TO_STOP, {"worker": worker.id})


def is_asked_to_stop(connection: sa.Connection, *, run_id: str) -> bool:
    """Whether the run is to end at its next safe point."""
    return bool(connection.scalar(_IS_ASKED_TO_STOP, {"run_id": run_id}))


def note_interrupt(engine: sa.Engine, *, run_id: str, reason: str) -> None:
    """Say why the run's process is about to be interrupted, where that is not a person's wish."""
    with engine.begin() as connection:
        connection.execute(_INTERRUPT, {"run_id": run_id, "reason": reason})


def interrupt_reason(engine: sa.Engine, *, run_id: str) -> str | None:
    """Why the run's worker interrupted it, if it did."""
    with engine.begin() as connection:
        return connection.scalar(_INTERRUPT_REASON, {"run_id": run_id})


def heartbeat(engine: sa.Engine, *, run_id: str, lease_s: float) -> tuple[Heartbeat, bool] | None:
    """The run's row and whether it is alive: not ended, fresh, its worker (if on this host) still there."""
    with engine.begin() as connection:
        row = connection.execute(_ONE, {"run_id": run_id, "lease_s": lease_s}).mappings().first()
    if row is None:
        return None
    values = dict(row)
    fresh = values.pop("fresh")
    found = Heartbeat(**values)
    return found, fresh and not (found.host == host_name() and worker_is_gone(found))


def abandoned(engine: sa.Engine, *, host: str) -> list[Heartbeat]:
    """Runs of workers of this host that are no longer there, however fresh their last beat is."""
    with engine.begin() as connection:
        rows = [Heartbeat(**row) for row in connection.execute(_ON_HOST, {"host": host}).mappings()]
    return [row for row in rows if worker_is_gone(row)]


def silent(engine: sa.Engine, *, lease_s: float) -> list[Heartbeat]:
    """Runs that gave no sign of life for so long, wherever they were executed."""
    with engine.begin() as connection:
        return [Heartbeat(**row) for row in connection.execute(_SILENT, {"lease_s": lease_s}).mappings()]


def prune(engine: sa.Engine) -> None:
    """Delete the rows of runs that ended more than seven days ago."""
    with engine.begin() as connection:
        connection.execute(_PRUNE)


def worker_is_gone(row: Heartbeat) -> bool:
    """Whether the process that beats for this run has ended, its number possibly taken by another."""
    return not is_still_there(row.worker_pid, row.worker_start)


def is_still_there(pid: int, start: str | None) -> bool:
    """Whether the process of this number that began at `start` still runs; where that is None, whether any of this number does."""
    return is_running(pid) and (start is None or process_start(pid) == start)


def process_start(pid: int) -> str | None:
    """When the process began, as the kernel counts: which boot, and how many ticks after it. No setting of a clock changes that.

    Where the kernel has no `/proc`, as psutil tells it. None where there is no such process.
    """
    try:
        if not _BOOT_ID.exists():
            return repr(psutil.Process(pid).create_time())
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()} {fields.split()[_START_TICKS]}"
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
