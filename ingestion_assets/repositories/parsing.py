"""Sources parsed in a child process that has little: memory, CPU time for each file, no environment; it ends with its parent.

A source that the child dies of costs itself alone. CPU time is counted, so a loaded machine parses as many files as an idle one. How
much a source may take grows with its size: queries are quadratic in brackets that are never closed, and a small file of them is not
worth ten seconds.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, cast

import msgspec

from ingestion_assets.repositories.facts import Chunk, Import, Parsed, Source, Symbol

__all__ = ["VERSION", "Chunk", "Import", "Parsed", "Source", "Symbol", "parse_all"]

VERSION = "1"  # another one makes what was parsed before be parsed anew: raise it when the facts or the chunks of a source change
CPU_S, WALL_S, ASK_S = 2.0, 600.0, 0.25
MEMORY_BYTES = 2**30


class _StoppedError(Exception):
    pass


def parse_all(
    sources: Iterable[Source], limits: object, stopped: Callable[[], bool], *, cpu_s: float = CPU_S, memory_bytes: int = MEMORY_BYTES
) -> Iterator[Parsed]:  # fmt: skip
    """The facts of each source, in their order; ends early where `stopped` says so. `limits`, those of a clone, leave the parser alone.

    An empty source may take `cpu_s`, each further quarter of a megabyte as much again.
    """
    del limits
    child: _Child | None = None
    try:
        for source in sources:
            if stopped():
                return
            parsed = None
            for _ in range(2):  # once more in a new child, where another source may have filled the first
                fresh = child is None
                child = child or _Child(cpu_s, memory_bytes)
                parsed = child.parse(source, stopped)
                if not child.alive():
                    child.end()
                    child = None
                if fresh or parsed.error in {None, "too_deep", "parse_timeout"}:
                    break
            yield cast("Parsed", parsed)
    except _StoppedError:
        return
    finally:
        if child is not None:
            child.end()


class _Child:
    """A process of `extraction`."""

    def __init__(self, cpu_s: float, memory_bytes: int) -> None:
        limited = [
            "prlimit",
            "--core=0",
            f"--as={memory_bytes}",
            "--fsize=0",
            "--",
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
        ]
        self._process = subprocess.Popen(
            [*limited, sys.executable, "-P", "-m", "ingestion_assets.repositories.extraction", str(cpu_s)],
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._poll = select.poll()
        self._poll.register(cast("IO[bytes]", self._process.stdout), select.POLLIN)

    def parse(self, source: Source, stopped: Callable[[], bool]) -> Parsed:
        """What the child says of a source, or what its end says."""
        data = msgspec.msgpack.encode(source)
        ends = time.monotonic() + WALL_S
        pipe = cast("IO[bytes]", self._process.stdin)
        with suppress(BrokenPipeError):
            pipe.write(len(data).to_bytes(4, "big") + data)
            pipe.flush()
        answer = bytearray()
        wanted = 4
        while len(answer) < wanted:
            if not self._poll.poll(ASK_S * 1000):
                if stopped():
                    raise _StoppedError
                if time.monotonic() > ends:
                    self.end()
                    return _failed(source, "parse_timeout")
                continue
            piece = os.read(cast("IO[bytes]", self._process.stdout).fileno(), 2**20)
            if not piece:
                code = self._process.wait()
                return _failed(source, "parse_timeout" if code == -signal.SIGPROF else "parse_failed")
            answer += piece
            if len(answer) >= 4:
                wanted = 4 + int.from_bytes(answer[:4], "big")
        return Parsed.from_bytes(bytes(answer[4:]))

    def alive(self) -> bool:
        """Whether it takes another source."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                cast("IO[bytes]", pipe).close()


def _failed(source: Source, error: str) -> Parsed:
    return Parsed(source.path, source.blob, source.language, error)
