"""How much memory this process took, and what bounds it: for the word on a payload that wants more."""

import resource
import sys
from pathlib import Path

_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NO_LIMIT = 2**60
MB = 2**20


def peak_mb() -> int:
    """The most that this process ever had resident."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // MB


def limit_mb() -> int | None:
    """The lowest bound that is known: of the process's address space, or of its control group."""
    said = [path.read_text(encoding="ascii").strip() for path in _CGROUPS if path.exists()]
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    limits += [int(text) for text in said if text.isdecimal()]
    bounds = [bound for bound in limits if 0 < bound < _NO_LIMIT]
    return min(bounds) // MB if bounds else None


def out_of_memory(error: MemoryError | None = None) -> str:
    """What is to be said of work that wanted more than there is."""
    limit = limit_mb()
    bound = f", of {limit:,} MB that it may have" if limit is not None else ""
    asked = f"; it asked for more: {error}" if error is not None and str(error) else ""
    return f"the worker ran out of memory: its process held {peak_mb():,} MB at its peak{bound}{asked}"
