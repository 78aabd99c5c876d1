"""Child processes that have little: memory, file sizes, no environment, no network where the system allows to take it away.

They have a session of their own, are killed as a group, and end with their parent.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import IO, cast

ASK_S = 0.25
_NETWORKLESS = (["unshare", "--net", "--"], ["unshare", "--user", "--map-current-user", "--net", "--"])


class ChildEndedError(Exception):
    """The child is gone; `code` is its exit status, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the child ended with {code}")
        self.code = code


class StoppedError(Exception):
    """The caller was asked to stop; the child is gone."""


def limited(
    command: Sequence[str], *, memory_bytes: int, file_bytes: int = 0, cpu_s: int | None = None,
    network: bool = True, parent_death_signal: str = "KILL",
) -> list[str]:  # fmt: skip
    """The command line that runs `command` with these limits; a parent is the thread that starts it."""
    cpu = [] if cpu_s is None else [f"--cpu={cpu_s}"]
    limits = ["prlimit", "--core=0", f"--as={memory_bytes}", f"--fsize={file_bytes}", *cpu, "--"]
    bare = [] if network else networkless()
    return [*limits, *bare, "setpriv", "--pdeathsig", parent_death_signal, "--", *command]


@cache
def networkless() -> list[str]:
    """What runs a command without a network; empty where the system does not allow it."""
    if shutil.which("unshare") is None:
        return []
    tried = (
        one
        for one in _NETWORKLESS
        if not subprocess.run([*one, "true"], capture_output=True, check=False).returncode
    )
    return next(tried, [])


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started: none of them left its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


@cache
def _starter(_process_id: int) -> ThreadPoolExecutor:
    """The thread that starts children: a child ends with the thread that started it, and this one lives as long as its process."""
    return ThreadPoolExecutor(1, thread_name_prefix="children")


class Child:
    """A Python module that answers on its standard output what comes on its standard input, in frames: 4 bytes of length, and the data."""

    def __init__(
        self, module: str, *arguments: str, memory_bytes: int, file_bytes: int = 0, network: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:  # fmt: skip
        search = os.pathsep.join(filter(None, sys.path))
        self._process = _starter(os.getpid()).submit(
            subprocess.Popen,
            limited([sys.executable, "-P", "-m", module, *arguments], memory_bytes=memory_bytes, file_bytes=file_bytes, network=network),
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": search, "MALLOC_ARENA_MAX": "1", **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        ).result()  # fmt: skip
        self._asked = 0.0
        self._poll = select.poll()
        self._poll.register(cast("IO[bytes]", self._process.stdout), select.POLLIN)

    @property
    def process_id(self) -> int:
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Give it a frame; where it is gone, `receive` tells."""
        pipe = cast("IO[bytes]", self._process.stdin)
        with suppress(BrokenPipeError):
            pipe.write(len(data).to_bytes(4, "big") + data)
            pipe.flush()

    def receive(self, *, ends: float, stopped: Callable[[], bool]) -> bytes:
        """Its next frame. After `ends` (monotonic) a `TimeoutError`, else `StoppedError` or `ChildEndedError`; the child is gone after each."""
        answer = bytearray()
        wanted = 4
        while len(answer) < wanted:
            self._go_on(ends, stopped)
            if not self._poll.poll(ASK_S * 1000):
                continue
            piece = os.read(
                cast("IO[bytes]", self._process.stdout).fileno(), min(2**20, wanted - len(answer))
            )
            if not piece:
                code = self._process.wait()
                self.end()
                raise ChildEndedError(code)
            answer += piece
            if len(answer) == 4:
                wanted = 4 + int.from_bytes(answer, "big")
        return bytes(answer[4:])

    def _go_on(self, ends: float, stopped: Callable[[], bool]) -> None:
        """Asked by the clock, not when the child is silent: one that never stops talking is ended too."""
        now = time.monotonic()
        if now - self._asked < ASK_S:
            return
        self._asked = now
        if stopped():
            self.end()
            raise StoppedError
        if now > ends:
            self.end()
            raise TimeoutError

    def alive(self) -> bool:
        """Whether it takes another frame."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it, with what it started."""
        kill(self._process)
