"""Whether a process that executes a run gets on, judged from outside: by the processor time that it takes.

Nothing in the process has to say so: neither a step that spends minutes in one call of C, nor one that hangs there. A step that
loops for ever does take processor time; it ends by the longest runtime of its job.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import psutil

OTHERS_SHARE = 0.05  # of a core: what threads take that compute for a waiting main thread, not those that merely keep a connection
MOST_BETWEEN_LOOKS_S = (
    5.0  # while the watcher itself was stopped, or the machine slept, the process may have had no turn either
)


@dataclass(slots=True)
class _Seen:
    working_s: float
    process_s: float
    moved_at: float
    looked_at: float
    still_s: float = 0.0


class Progress:
    """What was seen of the processes that execute runs, at each look."""

    def __init__(self) -> None:
        self._seen: dict[object, _Seen] = {}

    def still_s(self, key: object, pid: int, *, thread: int | None = None) -> float:
        """Seconds for which neither the thread that executes the run (default: the main one) nor others for it took
        processor time; as far as one has looked."""
        now = time.monotonic()
        try:
            working_s, process_s = _processor_s(pid, pid if thread is None else thread)
        except psutil.Error:
            return 0.0
        seen = self._seen.get(key)
        if (
            seen is None
            or working_s > seen.working_s
            or process_s - seen.process_s > OTHERS_SHARE * (now - seen.moved_at)
        ):
            self._seen[key] = _Seen(working_s, process_s, now, now)
            return 0.0
        seen.still_s += min(now - seen.looked_at, MOST_BETWEEN_LOOKS_S)
        seen.looked_at = now
        return seen.still_s

    def forget_all_but(self, keys: Collection[object]) -> None:
        """Runs that are over."""
        for key in self._seen.keys() - set(keys):
            del self._seen[key]


def _processor_s(pid: int, thread: int) -> tuple[float, float]:
    """What the thread and what the whole process took so far, in seconds."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    working = next((one.user_time + one.system_time for one in process.threads() if one.id == thread), 0.0)
    return working, times.user + times.system


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process, so that it cannot even heed an interrupt."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
