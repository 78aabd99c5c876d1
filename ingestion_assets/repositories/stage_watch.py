"""What a stage tells while it is under way: which it is, since when, how far; and what it took at its end."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

TELL_S = 5.0
LOOK_S = 0.5
MB = 2**20


@dataclass(slots=True)
class StageWatch:
    """`tell` takes each state. `took` has, by stage, its seconds and the most memory of this process and its children."""

    tell: Callable[[Mapping[str, Any]], object]
    took: dict[str, dict[str, float]] = field(default_factory=dict)
    _state: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within the block the stage is told of every five seconds, however long a single call takes."""
        started, stop, peak = time.monotonic(), threading.Event(), [memory_mb()]
        self._state = {"stage": name}
        self.tell(dict(self._state))

        def watch() -> None:
            told = time.monotonic()
            while not stop.wait(LOOK_S):
                peak[0] = max(peak[0], memory_mb())
                if time.monotonic() - told >= TELL_S:
                    told = time.monotonic()
                    self.tell({**self._state, "seconds": round(told - started)})

        thread = threading.Thread(target=watch, name=f"watch-{name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.took[name] = {
                "seconds": round(time.monotonic() - started, 3),
                "peak_memory_mb": round(max(peak[0], memory_mb())),
            }

    def come_to(self, done: int, total: int, what: str = "files") -> None:
        """So many are done in the stage that is under way."""
        self.note(done, total, what)
        self.tell(dict(self._state))

    def note(self, done: int, total: int, what: str = "files") -> None:
        """The same, to be told when it is time."""
        self._state = {**self._state, f"{what}_done": done, f"{what}_total": total}


def memory_mb() -> float:
    """Resident memory of this process and its children."""
    held = 0
    try:
        itself = psutil.Process(os.getpid())
        for process in (itself, *itself.children(recursive=True)):
            try:
                held += process.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0.0
    return held / MB
