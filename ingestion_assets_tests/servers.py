"""Running one embedded server for as long as a test needs it; and finding the database of each test in it."""

import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, Signals

from ingestion_assets.stores.embedded import EmbeddedServer


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Return once `condition()` holds; fail after `seconds`. What takes long is asked for less often: each question costs."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"waited {seconds} s in vain for: {what}")
        time.sleep(min(0.1, max(0.02, waited / 20)))


def wait_until_empty(remaining: Callable[[], Collection[object]], *, seconds: float) -> None:
    """Return once nothing of `remaining()` is left; fail after `seconds` with what is."""
    deadline = time.monotonic() + seconds
    while found := remaining():
        if time.monotonic() > deadline:
            raise AssertionError(f"left after {seconds} s: {found}")
        time.sleep(0.02)


def start(server: EmbeddedServer) -> subprocess.Popen[bytes]:
    """Start `server` and return once it answers."""
    server.prepare()
    log = server.folder / "log.txt"
    with log.open("ab") as output:
        process = subprocess.Popen(
            server.command, cwd=server.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={"PATH": "/usr/bin:/bin", "HOME": str(server.folder), **server.environment},
        )  # fmt: skip

    def answers_or_died() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{server.name} ended with {process.returncode}:\n{_tail(log)}")
        return server.is_ready()

    wait_until(answers_or_died, seconds=60, what=f"{server.name} to answer")
    return process


def stop(server: EmbeddedServer, process: subprocess.Popen[bytes]) -> None:
    """Stop `process` as the stack would."""
    if process.poll() is None:
        process.send_signal(Signals[f"SIG{server.stop_signal}"])
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.send_signal(SIGKILL)
            process.wait()


@contextmanager
def running(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """`server`, up and answering, within the block."""
    process = start(server)
    try:
        yield server
    finally:
        stop(server, process)


def _tail(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-3000:]
