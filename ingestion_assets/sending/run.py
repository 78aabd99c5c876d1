"""One run of an `ingestion send …` command, whatever the flow: where to, signals, exit status, the last words.

The flow's command says what is sent and prints what became of it. The table of exit statuses is in docs/sending.md.
"""

import contextlib
import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import typer
from rich.console import Console

from ingestion_assets.sending.delivery import Delivery
from ingestion_assets.sending.display import Display, Figures
from ingestion_assets.sending.endings import GaveUpError, RejectedError, StoppedError, UsageError
from ingestion_assets.sending.files import reason_of, shown
from ingestion_assets.sending.options import key_of
from ingestion_assets.settings import Settings, load_settings

EXIT_PROBLEMS, EXIT_USAGE, EXIT_GAVE_UP, EXIT_INTERRUPTED = 1, 2, 3, 130
LEAST_PATIENCE_S = 30.0
_KEY = re.compile(r"[!-~]+")


class Run:
    """One run. `status` and `reason` say how it ended; `retry_for_s` is `math.inf` for one that goes on for ever."""

    def __init__(self, *, url: str | None, key: str | None, retry_for_s: float, quiet: bool) -> None:
        self.settings: Settings = load_settings()
        self.url = url or self.settings.front_door_url
        self.console = Console(stderr=True)
        self.stop = threading.Event()
        self.quiet = quiet
        self.status, self.reason = 0, "complete"
        self._key = key or key_of(self.settings)
        self._retry_for_s = retry_for_s

    @property
    def target(self) -> str:
        """The front door, as state files name it."""
        return self.url.rstrip("/")

    @property
    def patience_s(self) -> float:
        """How long the outcome of what was accepted may stay unknown."""
        return max(self._retry_for_s, LEAST_PATIENCE_S)

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Around the work: what it raises becomes the exit status, and the reason why it ended."""
        with _stop_on_signals(self.stop):
            try:
                yield
            except StoppedError:
                self.status, self.reason = EXIT_INTERRUPTED, "stopped"
            except UsageError as error:
                self.status, self.reason = EXIT_USAGE, str(error)
            except OSError as error:
                named = f"{shown(error.filename)}: " if error.filename else ""
                self.status, self.reason = EXIT_USAGE, named + reason_of(error)
            except RejectedError as error:
                self.status, self.reason = EXIT_PROBLEMS, str(error)
            except GaveUpError as error:
                self.status, self.reason = EXIT_GAVE_UP, f"gave up: {error}"

    @contextlib.contextmanager
    def delivery(
        self, figures: Callable[[], Figures], *, connections: int
    ) -> Iterator[tuple[Delivery, Display]]:
        """A connection to the front door, and the display of how far the run is."""
        display = Display(
            figures, console=self.console, quiet=self.quiet, endless=self._retry_for_s == math.inf
        )
        delivery = Delivery(
            url=self.url, key=_sendable(self._key) if self._key else None, retry_for_s=self._retry_for_s, stop=self.stop,
            on_outage=display.outage, connections=connections,
        )  # fmt: skip
        with contextlib.closing(delivery), display:
            yield delivery, display

    def tell(self, text: str) -> None:
        """A line on standard error."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def exit(self, show: Callable[[], object], *, as_json: Any = None, resumes: bool = True) -> NoReturn:
        """Print why it ended early, and what became of it: `as_json`, or, unless it is to be quiet, what `show` prints.

        The disk of standard output may be full as well: that is a sentence and exit status 2.
        """
        if self.status and self.reason != "complete":
            self.tell(self.reason)
            if resumes and self.status in {EXIT_GAVE_UP, EXIT_INTERRUPTED}:
                self.tell("What was sent is remembered; run the same command again to go on.")
        try:
            if as_json is not None:
                typer.echo(json.dumps(as_json, indent=2))
            elif not self.quiet:
                show()
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # who reads has had enough
        except OSError as error:
            with contextlib.suppress(OSError, ValueError):  # else Python tries again when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.tell(f"what became of it cannot be printed: {error.strerror}")
            self.status = EXIT_USAGE
        raise typer.Exit(self.status)


@contextlib.contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends after the requests in hand, the second at once."""

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _sendable(key: str) -> str:
    """The key, if a header can carry it; where not, the error tells the place and never the key."""
    if _KEY.fullmatch(key):
        return key
    place = next(number for number, one in enumerate(key, 1) if not "!" <= one <= "~")
    wrong = "a line end" if key[place - 1] in "\r\n" else "a character"
    raise UsageError(
        f"the API key holds {wrong} (at place {place} of {len(key)}) that no header can carry; "
        "give the key alone, with --key or in INGESTION_API_KEY"
    )
