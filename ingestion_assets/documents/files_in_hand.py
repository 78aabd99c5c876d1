"""The files that a run has in hand: how far each is, how it ended, and the watch over them and over what is wanted of their job."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.documents import estimates, job_files
from ingestion_assets.documents.file_errors import FileError, FileLostError
from ingestion_assets.documents.job_files import Held, JobFile, Step, hold
from ingestion_assets.documents.making import Making
from ingestion_assets.documents.preparing import Job
from ingestion_assets.documents.run_figures import Done
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.source import Source
from ingestion_assets.landing.claims import ClaimLostError

TICK_S = 0.2
LOOK_S = 1.0
RENEW_S = 15.0
SLICE_FILES = 64
RUN_S = 300.0  # after which a run ends in any case, so that its log in Dagster stays short
BACKOFF_S, BACKOFF_LONGEST_S = 1.0, 60.0

Word = Literal["continue", "pause", "cancel", "drain"]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What a run needs for its work. `connected` gives a connection as it is now, `open_source` opens its source, `wanted` says what is wanted of the job, `outranked`
    whether another job should go first, `came_on` is told when files ended."""

    engine: sa.Engine
    job: Job
    holder: str
    flow: str
    scratch: Path
    cap: int
    slice_s: float
    connected: Callable[[str], Connection]
    open_source: Callable[[Connection], Source]
    wanted: Callable[[], Word]
    outranked: Callable[[], bool]
    came_on: Callable[[Mapping[str, int]], object]


class FilesInHand:
    """Of one run. `stop` says that all ends at once, `no_more` that no more files are begun, `over` that the work is done, `moved` that there
    may be room for a file."""

    def __init__(self, run: Slice) -> None:
        self.run = run
        self.done = Done()
        self.making = Making(run.engine)
        self.stop = threading.Event()
        self.no_more = threading.Event()
        self.over = threading.Event()
        self.moved = threading.Event()
        self.fault: BaseException | None = None
        self._lock = threading.Lock()
        self._steps: dict[int, tuple[Step, int]] = {}
        self._in_hand: dict[int, JobFile] = {}
        self._characters: dict[int, int] = {}  # of those that are ready
        self._slice_files = 0
        self._began = self._slice_began = time.monotonic()

    def _failed(self, file: JobFile, error: FileError, took: dict[str, int]) -> None:
        """An attempt failed: another one follows, or the file has."""
        options, run = self.run.job.options, self.run
        again = error.retryable and file.attempts + 1 < options.attempts
        try:
            with run.engine.begin() as connection:
                job = hold(connection, run.job.id)
                if again:
                    spread = random.uniform(0.75, 1.25)  # noqa: S311
                    delay_s = min(BACKOFF_LONGEST_S, BACKOFF_S * 2**file.attempts) * spread
                    job.again_later(connection, run.holder, file, error, delay_s=delay_s)
                else:
                    job.end(connection, run.holder, file, "failed", error=error, facts={"took": took})
        except FileLostError:
            self._forget(file)
            return
        except SQLAlchemyError as fault:
            self._fail(fault)
            return
        if again:
            self.done.retried += 1
            self._forget(file)
            return
        self.done.failures.append((file.path, error.code, error.stage, error.sentence))
        self._ended(file, "failed", took)

    def _ended(self, file: JobFile, outcome: str, took: Mapping[str, int]) -> None:
        with self._lock:
            self.done.outcomes[outcome] = self.done.outcomes.get(outcome, 0) + 1
            for step, spent in took.items():
                self.done.took_ms.setdefault(step, []).append(spent)
            outcomes = dict(self.done.outcomes)
        self._forget(file)
        self.run.came_on(outcomes)

    def _forget(self, file: JobFile) -> None:
        self.making.end(file.number)
        with self._lock:
            for of_files in (self._in_hand, self._steps, self._characters):
                of_files.pop(file.number, None)
        self.moved.set()

    def _fail(self, error: BaseException) -> None:
        """The run cannot go on."""
        if self.fault is None:
            self.fault = error
        self.stop.set()

    def _tell(self, file: JobFile, step: Step, progress: int) -> None:
        with self._lock:
            if file.number in self._in_hand:
                self._steps[file.number] = step, progress

    def tell_steps(self) -> None:
        """Write how far the files in hand are."""
        if self._steps:
            with self.run.engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                self.move_steps(connection, hold(connection, self.run.job.id))

    def move_steps(self, connection: sa.Connection, job: Held) -> None:
        """The same, within a transaction."""
        with self._lock:
            steps, self._steps = self._steps, {}
        if steps:
            job.move(connection, self.run.holder, steps)

    # The watch

    def watch(self) -> None:
        """Until the work is over: tell steps, keep the leases, and look at what is wanted."""
        looked = renewed = time.monotonic()
        while not self.over.wait(TICK_S):
            try:
                self.tell_steps()
                now = time.monotonic()
                if now - looked >= LOOK_S:
                    looked = now
                    self._look()
                if now - renewed >= RENEW_S:
                    renewed = now
                    with self.run.engine.begin() as connection:
                        job_files.renew(connection, self.run.job.id, self.run.holder)
                    with self.run.engine.begin() as connection:
                        estimates.renew(connection, self.run.job.id, workers=self.run.job.options.workers)
            except ClaimLostError as error:
                self._fail(error)
                return
            except SQLAlchemyError as error:
                log.warning("job_watch_interrupted", job=self.run.job.id, error=type(error).__name__)

    def _look(self) -> None:
        word = self.run.wanted()
        if word in {"cancel", "drain"}:
            self.stop.set()
        elif word == "pause":
            self.no_more.set()
        now = time.monotonic()
        if now - self._slice_began < self.run.slice_s and self._slice_files < SLICE_FILES:
            return
        self._slice_began, self._slice_files = now, 0
        if now - self._began >= RUN_S:
            self.no_more.set()
        elif self.run.outranked():
            self.done.outranked = True
            self.no_more.set()
