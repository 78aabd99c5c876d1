"""The runs of one worker: that they live, and what they hold in the ledger, which is theirs for as long and goes back at their end.

The worker makes one `WorkerRuns` and hands it to who executes its runs and who watches over them. A process that executes a run by
itself (`dagster job execute`, a test) has one of its own meanwhile. The rows of the heartbeats are the matter of `heartbeats.py`.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing import leases
from ingestion_assets.landing.channels import announce
from ingestion_assets.landing.open_dispatches import lose
from ingestion_assets.landing.pauses import pause_lane
from ingestion_assets.landing.run_tags import DISPATCH_TAG, FLOW_TAG, LANE_TAG
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.heartbeats import Ending, Heartbeat, Worker
from ingestion_assets.orchestration.retries import (
    CANCELLED,
    FailureOf,
    cancelled,
    failed,
    give_back,
    killed_for_memory,
    lost,
    stalled,
)
from ingestion_assets.orchestration.run_progress import Progress
from ingestion_assets.settings import Settings

logger = logging.getLogger(__name__)


class WorkerRuns:
    """What `worker` does for the runs that it executes."""

    def __init__(self, *, worker: Worker, engine: sa.Engine, settings: Settings) -> None:
        self.worker = worker
        self.engine = engine
        self.settings = settings
        self._said: dict[str, FailureOf] = {}
        self._at_end = ExitStack()

    def claim(self, run_id: str) -> bool:
        """Say that the calling process executes the run. False where one that is alive does so already."""
        return heartbeats.claim(
            self.engine, run_id=run_id, worker=self.worker, pid=os.getpid(), lease_s=self.settings.lease_s
        )

    def live(self) -> list[Heartbeat]:
        """The runs that are executed now."""
        return heartbeats.live(self.engine, worker=self.worker)

    def beat(self, run_ids: Sequence[str]) -> None:
        """These runs are alive, and so keep their lanes."""
        if not run_ids:
            return
        heartbeats.beat(self.engine, run_ids=run_ids)
        with self.engine.begin() as connection:
            leases.renew(connection, run_ids=run_ids, lease_s=self.settings.lease_s)

    def end(
        self, run_id: str, *, tags: Mapping[str, str], ending: Ending, worker: Worker | None = None
    ) -> None:
        """Nobody executes the run any more: what it holds goes back first, so that this can be repeated where that failed.

        `worker`: whose run it was, where that is another one.
        """
        self.give_back(run_id, tags, ending)
        heartbeats.end(self.engine, run_id=run_id, worker=worker or self.worker)

    def note_failure(self, run_id: str, failure: FailureOf) -> None:
        """What the run has to say of its payloads, should it not be able to tell the ledger."""
        self._said = {run_id: failure}

    def give_back(self, run_id: str, tags: Mapping[str, str], ending: Ending) -> None:
        """Whatever a dispatched run still holds when nobody executes it any more goes back at once.

        A lost process may be the payloads' fault, and so may be a failed run: that costs them an attempt. A run that could not
        even give back was cut off from the ledger, and what it had to say of them still counts. A run that was cancelled before
        it claimed anything was about to claim what its lane has: that waits. What a person's run holds waits for its retries: the
        sensor gives that back.
        """
        if DISPATCH_TAG not in tags:
            return
        failure = self._said.pop(run_id, None) or _failure_by(ending, run_id)
        with self.engine.begin() as connection:
            give_back(connection, run_id, failure, self.settings)
            leases.release(connection, run_id)
            if lose(connection, [UUID(tags[DISPATCH_TAG])]):
                flow, lane = tags[FLOW_TAG], tags[LANE_TAG]
                if failure.code == CANCELLED:
                    pause_lane(
                        connection, flow, lane, error=failure.as_error(), seconds=self.settings.cancel_pause_s
                    )
                announce(connection, [(flow, lane)])

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the block, runs that this thread executes are this worker's; what they keep open is left with it."""
        token = _at_work.set(self)
        try:
            with ExitStack() as self._at_end:
                yield
        finally:
            _at_work.reset(token)

    def leave_at_end(self, kept: ExitStack) -> None:
        """Leave what a run keeps open when its execution ends, if nobody has by then: where Dagster fails between two stages, it
        forgets the step without closing it."""
        self._at_end.callback(kept.close)

    @contextmanager
    def beating(self, run_id: str) -> Iterator[None]:
        """Beat for a run that the calling thread executes outside the workers, unless somebody does already."""
        if not self.claim(run_id):
            yield
            return
        stop = threading.Event()
        _heed_interrupts()
        beats = threading.Thread(
            target=self._keep_beating,
            args=(run_id, threading.get_native_id(), stop),
            name=f"beat-{run_id}",
            daemon=True,
        )
        beats.start()
        try:
            yield
        finally:
            stop.set()
            beats.join()
            heartbeats.end(self.engine, run_id=run_id, worker=self.worker)

    def _keep_beating(self, run_id: str, thread: int, stop: threading.Event) -> None:
        progress = Progress()
        while not stop.wait(self.settings.heartbeat_s):
            still_s = progress.still_s(run_id, self.worker.pid, thread=thread)
            if still_s >= self.settings.run_stalled_s:
                logger.error(
                    "Run %s has made no progress for %.0f s; nobody beats for it any more", run_id, still_s
                )
                os.kill(self.worker.pid, signal.SIGINT)
                return
            try:
                self.beat([run_id])
                if any(row.cancel_requested_at for row in self.live()):
                    os.kill(self.worker.pid, signal.SIGINT)  # Dagster's handler ends the run as canceled
            except SQLAlchemyError as error:
                logger.warning("The heartbeat of run %s failed: %s", run_id, error)


_at_work: ContextVar[WorkerRuns | None] = ContextVar("worker_runs", default=None)


def worker_at_work() -> WorkerRuns | None:
    """The worker whose run the calling thread executes; None outside the workers."""
    return _at_work.get()


def _failure_by(ending: Ending, run_id: str) -> FailureOf:
    if ending.how == "cancelled":
        return cancelled(run_id)
    if ending.how == "failed":
        return failed(run_id, ending.reason)
    if ending.how == "stalled":
        return stalled(run_id, ending.reason)
    if ending.how == "out of memory":
        return killed_for_memory(run_id, ending.reason)
    return lost(run_id, ending.reason, cut_off=ending.how == "over")


def _heed_interrupts() -> None:
    """A shell's background job is started deaf to SIGINT, by which a run is ended."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)
