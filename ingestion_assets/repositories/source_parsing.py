"""Sources parsed in a child process that has little: memory, CPU time for each file, no environment; it ends with its parent.

A source that the child dies of costs itself alone. CPU time is counted, so a loaded machine parses as many files as an idle one. How
much a source may take grows with its size: queries are quadratic in brackets that are never closed, and a small file of them is not
worth ten seconds.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import msgspec

from ingestion_assets.limited_children import Child, ChildEndedError, StoppedError
from ingestion_assets.repositories.source_facts import Chunk, Import, Parsed, Source, Symbol

__all__ = ["VERSION", "Chunk", "Import", "Parsed", "Source", "Symbol", "parse_all"]

VERSION = "1"  # another one makes what was parsed before be parsed anew: raise it when the facts or the chunks of a source change
CPU_S, WALL_S = 2.0, 600.0
MODULE = "ingestion_assets.repositories.extraction"
MEMORY_BYTES = 2**30


def parse_all(
    sources: Iterable[Source], stopped: Callable[[], bool], *, cpu_s: float = CPU_S, memory_bytes: int = MEMORY_BYTES
) -> Iterator[Parsed]:  # fmt: skip
    """The facts of each source, in their order; ends early where `stopped` says so.

    An empty source may take `cpu_s`, each further quarter of a megabyte as much again.
    """
    child: Child | None = None
    try:
        for source in sources:
            if stopped():
                return
            parsed = None
            for _ in range(2):  # once more in a new child, where another source may have filled the first
                fresh = child is None
                child = child or Child(MODULE, str(cpu_s), memory_bytes=memory_bytes)
                parsed = _parsed(child, source, stopped)
                if not child.alive():
                    child.end()
                    child = None
                if fresh or parsed.error in {None, "too_deep", "parse_timeout"}:
                    break
            yield cast("Parsed", parsed)
    except StoppedError:
        return
    finally:
        if child is not None:
            child.end()


def _parsed(child: Child, source: Source, stopped: Callable[[], bool]) -> Parsed:
    """What the child says of a source, or what its end says."""
    child.send(msgspec.msgpack.encode(source))
    try:
        return Parsed.from_bytes(child.receive(ends=time.monotonic() + WALL_S, stopped=stopped))
    except TimeoutError:
        return _failed(source, "parse_timeout")
    except ChildEndedError as ended:
        return _failed(source, "parse_timeout" if ended.code == -signal.SIGPROF else "parse_failed")


def _failed(source: Source, error: str) -> Parsed:
    return Parsed(source.path, source.blob, source.language, error)
