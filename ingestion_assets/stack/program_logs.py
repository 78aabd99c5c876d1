"""Showing the programs' log files on the terminal, each line with the name of its program."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

_POLL_S = 0.2


class LogRelay(threading.Thread):
    """Hands every line that is added to `files` (by program) to `show(program, line)` until `close()`."""

    def __init__(self, files: Mapping[str, Path], show: Callable[[str, str], None]) -> None:
        super().__init__(name="log-relay", daemon=True)
        self._tails = {name: LogTail(path) for name, path in files.items()}
        self._show = show
        self._closing = threading.Event()

    def run(self) -> None:
        while not self._closing.wait(_POLL_S):
            self._relay()
        self._relay()

    def close(self) -> None:
        """Show what is still unshown and end."""
        self._closing.set()
        if self.is_alive():
            self.join(timeout=2)

    def _relay(self) -> None:
        for name, tail in self._tails.items():
            for line in tail.new_lines():
                self._show(name, line)


class LogTail:
    """Reads what is added to a log file, across its rotation. Starts at the file's present end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity, self._position = self._measure()
        self._unfinished = b""

    def new_lines(self) -> list[str]:
        """The whole lines written since the last call."""
        identity, size = self._measure()
        if identity != self._identity or size < self._position:
            self._identity, self._position, self._unfinished = identity, 0, b""
        if size == self._position:
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            added = file.read(size - self._position)
        self._position += len(added)
        *lines, self._unfinished = (self._unfinished + added).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def _measure(self) -> tuple[int | None, int]:
        try:
            seen = self._path.stat()
        except FileNotFoundError:
            return None, 0
        return seen.st_ino, seen.st_size


def last_lines(path: Path, count: int) -> list[str]:
    """Up to `count` lines at the end of the file; none if it does not exist."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 400 * count))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
