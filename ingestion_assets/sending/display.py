"""Shows how far a run is: a bar on a terminal, a plain line every few seconds elsewhere, or nothing; and outages."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

PLAIN_INTERVAL_S = 5.0
OUTAGE_INTERVAL_S = 0.2
WIDE_COLUMNS = 120


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a run is, in bytes of files (`total` 0: not known) and in words."""

    done: int
    total: int
    words: str


class Display:
    """Use as a context; call `refresh()` a few times a second from one thread. `outage` is for all threads."""

    def __init__(
        self, figures: Callable[[], Figures], *, console: Console, quiet: bool = False, endless: bool = False
    ) -> None:
        self._figures = figures
        self._console = console
        self._quiet = quiet
        self._printed_at = time.monotonic()
        self._outage_at = float("-inf")
        self._guard = threading.Lock()
        self._progress: Progress | None = None
        if console.is_terminal and not quiet:
            wide = console.width >= WIDE_COLUMNS
            self._progress = Progress(
                *((SpinnerColumn(),) if endless else (BarColumn(20 if wide else 6), TaskProgressColumn())),
                *((DownloadColumn(), TimeRemainingColumn()) if wide and not endless else ()),
                TextColumn("{task.fields[words]}"),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("sending", total=None, words="")

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self.refresh()
            self._progress.stop()

    def refresh(self) -> None:
        if self._quiet:
            return
        now = self._figures()
        if self._progress is not None:
            self._progress.update(
                self._task, total=now.total or None, completed=min(now.done, now.total), words=now.words
            )
        elif time.monotonic() - self._printed_at >= PLAIN_INTERVAL_S:
            self._printed_at = time.monotonic()
            share = f"{min(1.0, now.done / now.total):.0%}, " if now.total else ""
            self._console.print(share + now.words, soft_wrap=True, highlight=False)

    def outage(self, reason: str | None, pause_s: float) -> None:
        """The front door does not answer (or does again, with None); said once for threads that meet it together."""
        if reason is None or self._quiet:
            return
        with self._guard:
            if time.monotonic() - self._outage_at < OUTAGE_INTERVAL_S:
                return
            self._outage_at = time.monotonic()
        self._console.print(
            f"{reason}; trying again in {pause_s:.1f} s", style="yellow" if self._progress else None,
            soft_wrap=True, markup=False, highlight=False,
        )  # fmt: skip
