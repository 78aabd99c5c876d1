"""What the processes that execute runs hold in memory, as seen by themselves and by their parent; and whether the system kills for it."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

_VMSTAT = Path("/proc/vmstat")
MB = 2**20
DYING_LOOKS = 6  # a process that was killed is counted at once, and there until its memory is taken apart


class MemoryWatch:
    """Asked at every look of the worker's parent, as a process that was killed for its memory tells nothing any more."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._kills = deque([_kills()], maxlen=DYING_LOOKS)

    def look(self, pids: Mapping[str, int]) -> None:
        """Note what the processes of these runs hold now, if it is more than before: one that dies gives it back bit by bit."""
        self._held = {run_id: max(self._held.get(run_id, 0), _resident(pid)) for run_id, pid in pids.items()}
        self._kills.append(_kills())

    def says(self, run_id: str) -> str:
        """What is known of the memory of a run's process, in words."""
        if not self._held.get(run_id):
            return "what memory it held is not known"
        return f"it was seen to hold {self._held[run_id] // MB:,} MB of memory"

    def system_killed_for_it(self) -> bool:
        """Whether the system killed some process within the last looks because memory ran out, in a control group or everywhere."""
        return _kills() > self._kills[0]


class Growth:
    """What this process has come to hold of its own since it was warm."""

    def __init__(self) -> None:
        self._warm_kb = 0

    def begin(self) -> None:
        """The process is warm: what it holds now, a model say, is there to stay."""
        self._warm_kb = _own_kb()

    def keep(self, kb: int) -> None:
        """So much of what it came to hold since is there to stay too."""
        self._warm_kb += max(0, kb)

    def kb(self) -> int:
        return max(1, _own_kb() - self._warm_kb)


GROWTH = Growth()
"""That of this process."""


@contextmanager
def loading_to_stay() -> Iterator[None]:
    """What the block loads, such as a model that only some runs need, is kept for later runs: no reason to replace the process."""
    before = _own_kb()
    try:
        yield
    finally:
        GROWTH.keep(_own_kb() - before)


def _own_kb() -> int:
    """Without what is mapped from files: a forked child comes to hold more of that with every library that it looks into."""
    held = psutil.Process().memory_info()
    return (held.rss - getattr(held, "shared", 0)) // 1024


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _kills() -> int:
    try:
        lines = _VMSTAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
