"""Processes that an earlier stack of the same home left behind: which they are, and ending them.

A process is recognised by the mark in its environment, or as an embedded server working in the home's
own data folder; never by its name alone.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import psutil

MARK = "INGESTION_STACK"
"""Environment variable that holds the home, in every process that supervisord runs."""

_SERVERS = frozenset(
    {"postgres", "valkey-server"}
)  # they overwrite the memory that their environment is read from


def leftovers(home: Path) -> list[psutil.Process]:
    """All processes of the stack in `home`, its `ingestion up` excepted."""
    return [
        process for process in psutil.process_iter() if process.pid != os.getpid() and _is_of(process, home)
    ]


def end_leftovers(home: Path, *, patience_s: float = 10.0) -> int:
    """End what runs of the stack in `home`; returns how many processes that were.

    A supervisord whose `ingestion up` was killed stops by itself and in order: it gets `patience_s` seconds.
    """
    found = leftovers(home)
    supervisors = [process for process in found if _is_supervisord(process)]
    _signal(supervisors, SIGTERM)
    psutil.wait_procs(supervisors, timeout=patience_s if supervisors else 0)
    remaining = leftovers(home)
    for process in remaining:
        _signal([process], SIGINT if _executable(process) == "postgres" else SIGTERM)
    psutil.wait_procs(remaining, timeout=4 if remaining else 0)
    killed = leftovers(home)
    _signal(killed, SIGKILL)
    psutil.wait_procs(killed, timeout=5)
    # Nobody is left, so a pid file can only mislead the next start into taking a stranger for the old server.
    (home / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)
    return len(found)


def _is_of(process: psutil.Process, home: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if _executable(process) in _SERVERS:
            return home in Path(process.cwd()).parents
        return process.environ().get(MARK) == str(home)
    except (psutil.Error, OSError):  # gone, or another user's
        return False


def _executable(process: psutil.Process) -> str | None:
    try:
        return Path(process.exe()).name
    except (psutil.Error, OSError):
        return None


def _is_supervisord(process: psutil.Process) -> bool:
    try:
        return "supervisor.supervisord" in process.cmdline()
    except psutil.Error:
        return False


def _signal(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
