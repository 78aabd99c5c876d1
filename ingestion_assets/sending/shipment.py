"""One run of the command: puts the parts together, shows progress, ends with an exit status and totals."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ingestion_assets.sending.delivery import AccessDeniedError, Delivery, GaveUpError, StoppedError
from ingestion_assets.sending.display import Display
from ingestion_assets.sending.memory import Memory, StateFileError
from ingestion_assets.sending.preview import preview
from ingestion_assets.sending.report import (
    EXIT_GAVE_UP,
    EXIT_INTERRUPTED,
    EXIT_PROBLEMS,
    EXIT_USAGE,
    describe,
)
from ingestion_assets.sending.sender import Cut, Sender
from ingestion_assets.sending.slices import Problem
from ingestion_assets.sending.sources import Source, find_sources, watched_folders
from ingestion_assets.sending.tally import Tally

LEAST_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What to send, where to, and how. Paths are absolute and exist; `retry_for_s` is not for `follow`."""

    paths: tuple[Path, ...]
    url: str
    key: str | None
    state: Path
    cut: Cut
    retry_for_s: float
    follow: bool = False
    poll: bool = False
    wait: bool = True
    todos: bool = True
    with_settings: bool = False
    reset: bool = False
    dry_run: bool = False
    quiet: bool = False

    def find(self, tally: Tally) -> list[Source]:
        """The files there are now; what cannot be looked at goes into the tally."""
        found = find_sources(self.paths, with_todos=self.todos, with_settings=self.with_settings)
        tally.unreadable, tally.passed_over = found.unreadable, found.passed_over
        return found.sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended: exit status and, unless it was `complete` or `stopped`, why."""

    status: int
    reason: str
    tally: Tally
    elapsed_s: float


def ship(shipment: Shipment, *, console: Console) -> Ending:
    """Send it. Progress and outages go to `console`; SIGINT and SIGTERM end it with everything remembered."""
    tally, began = Tally(), time.monotonic()
    status, reason = 0, "complete"
    with stop_on_signals() as stop:
        try:
            with contextlib.closing(Memory(path=shipment.state, target=shipment.url.rstrip("/"))) as memory:
                if shipment.dry_run:
                    preview(
                        shipment.find(tally),
                        memory=memory,
                        cut=shipment.cut,
                        tally=tally,
                        forget=shipment.reset,
                    )
                else:
                    if shipment.reset:
                        memory.forget()
                    _send(shipment, memory=memory, tally=tally, stop=stop, console=console)
        except StoppedError:
            status, reason = (0 if shipment.follow else EXIT_INTERRUPTED), "stopped"
        except (AccessDeniedError, StateFileError, OSError) as error:
            status, reason = EXIT_USAGE, str(error)
        except GaveUpError as error:
            status, reason = EXIT_GAVE_UP, f"gave up: {error}"
    return Ending(
        status=status or (EXIT_PROBLEMS if tally.failed else 0),
        reason=reason,
        tally=tally,
        elapsed_s=time.monotonic() - began,
    )


def _send(
    shipment: Shipment, *, memory: Memory, tally: Tally, stop: threading.Event, console: Console
) -> None:
    delivery = Delivery(
        url=shipment.url,
        key=shipment.key,
        retry_for_s=None if shipment.follow else shipment.retry_for_s,
        stop=stop,
        on_outage=tally.outage_changed,
        connections=shipment.cut.concurrency + 2,
    )
    display = Display(tally=tally, console=console, quiet=shipment.quiet, endless=shipment.follow)
    with contextlib.closing(delivery), display:
        sender = Sender(
            delivery=delivery,
            memory=memory,
            cut=shipment.cut,
            tally=tally,
            stop=stop,
            wait=shipment.wait,
            patience_s=None if shipment.follow else max(shipment.retry_for_s, LEAST_PATIENCE_S),
        )
        try:
            if shipment.follow:
                _follow(shipment, sender, tally=tally, display=display, console=console, stop=stop)
            sources = shipment.find(tally)
            tally.bytes_total = sum(source.size for source in sources)
            sender.send_all(sources, tick=display.refresh)
            sender.wait_for_outcomes(tick=display.refresh)
        finally:
            stop.set()
            sender.close()


def _follow(
    shipment: Shipment,
    sender: Sender,
    *,
    tally: Tally,
    display: Display,
    console: Console,
    stop: threading.Event,
) -> None:
    from ingestion_assets.sending.watching import changes  # noqa: PLC0415  # only --follow needs it

    told, unreadable = 0, set[str]()

    def tell(problems: Iterable[Problem]) -> None:
        for problem in problems:
            console.print(describe(problem), soft_wrap=True, highlight=False)

    def find() -> list[Source]:
        nonlocal unreadable
        sources = shipment.find(tally)
        tell(problem for name, problem in tally.unreadable.items() if name not in unreadable)
        unreadable = set(tally.unreadable)
        return sources

    folders = watched_folders(shipment.paths)
    for sources in changes(folders=folders, find=find, stop=stop, poll=shipment.poll, tick=display.refresh):
        sender.send_all(sources, tick=display.refresh)
        tell(tally.problems[told:])
        told = len(tally.problems)
    raise StoppedError


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) ends after the requests in hand, the second at once."""
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
