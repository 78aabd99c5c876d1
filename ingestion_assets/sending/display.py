"""Shows a running tally: a bar on a terminal, a plain line every few seconds elsewhere, or nothing."""

import time
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

from ingestion_assets.sending.tally import Tally

PLAIN_INTERVAL_S = 5.0
WIDE_COLUMNS = 120


class Display:
    """Use as a context; call `refresh()` a few times a second from one thread."""

    def __init__(self, *, tally: Tally, console: Console, quiet: bool = False, endless: bool = False) -> None:
        self._tally = tally
        self._console = console
        self._quiet = quiet
        self._began = time.monotonic()
        self._printed_at = self._began
        self._shown = 0
        self._outage: str | None = None
        self._progress: Progress | None = None
        if console.is_terminal and not quiet:
            wide = console.width >= WIDE_COLUMNS
            self._progress = Progress(
                *((SpinnerColumn(),) if endless else (BarColumn(20 if wide else 6), TaskProgressColumn())),
                *((DownloadColumn(), TimeRemainingColumn()) if wide and not endless else ()),
                TextColumn("{task.fields[totals]}"),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("sending", total=None, totals="")

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
        tally = self._tally
        if tally.outage is not None and tally.outage != self._outage:
            style = "yellow" if self._progress else None
            self._console.print(tally.outage, style=style, soft_wrap=True, markup=False, highlight=False)
        self._outage = tally.outage
        if self._progress is not None:
            self._progress.update(
                self._task,
                total=tally.bytes_total or None,
                completed=min(tally.bytes_done, tally.bytes_total),
                totals=self.totals(),
            )
        elif time.monotonic() - self._printed_at >= PLAIN_INTERVAL_S:
            self._printed_at = time.monotonic()
            share = f"{min(1.0, tally.bytes_done / tally.bytes_total):.0%}, " if tally.bytes_total else ""
            self._console.print(share + self.totals(), soft_wrap=True, highlight=False)

    def totals(self) -> str:
        tally = self._tally
        rate = tally.sent / max(0.001, time.monotonic() - self._began)
        text = (
            f"{tally.sent:,} lines, {rate:,.0f}/s, {tally.stored:,} stored, "
            f"{tally.duplicate:,} duplicate, {tally.rejected:,} rejected"
        )
        return text + (f", {tally.waiting_for:,} open" if tally.waiting_for else "")
