"""A thread in a worker's parent process that watches over the runs of its children.

It beats for them, interrupts what is to be cancelled (and kills what does not heed it), reports the runs of
lost children and dead workers, and cuts runs off when the worker's time to stop is over.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Literal

import redis
import sqlalchemy as sa
from celery.worker import state
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.events import JobFailureData, RunFailureReason

from ingestion_assets.orchestration import heartbeats, lost_launches
from ingestion_assets.orchestration.heartbeats import Ending, Heartbeat, Worker

logger = logging.getLogger(__name__)

TICK_S = 0.4
INTERRUPT_EVERY_S = 1.0
KILL_AFTER_S = 3.0  # after the first interrupt: the click in the UI must show within 5 s
LOOK_AROUND_S = 5.0


class RunWarden(threading.Thread):
    """Watches from `start()` on. `drain_s`: seconds that runs get to end once the worker is to stop."""

    def __init__(
        self,
        *,
        instance: DagsterInstance,
        engine: sa.Engine,
        worker: Worker,
        heartbeat_s: float,
        drain_s: float,
        broker_url: str,
    ) -> None:
        super().__init__(name="run-warden", daemon=True)
        self._instance = instance
        self._engine = engine
        self._worker = worker
        self._heartbeat_s = heartbeat_s
        self._drain_s = drain_s
        self._broker = redis.Redis.from_url(broker_url, socket_timeout=5, socket_connect_timeout=2)
        self._suspects: set[str] = set()
        self._interrupted: dict[str, list[float]] = {}
        self._stop_at: float | None = None
        self._ended = threading.Event()

    def drain(self) -> None:
        """The worker takes no new runs; those that do not end within `drain_s` are cut off."""
        self._stop_at = self._stop_at or time.monotonic() + self._drain_s

    def run(self) -> None:
        next_beat = next_look = next_hold = 0.0
        while not self._ended.wait(TICK_S):
            now = time.monotonic()
            try:
                rows = heartbeats.live(self._engine, worker=self._worker)
                alive = [row for row in rows if not self._is_lost(row)]
                if now >= next_beat:
                    heartbeats.beat(self._engine, run_ids=[row.run_id for row in alive])
                    next_beat = now + self._heartbeat_s
                self._interrupt_cancelled(alive)
                if now >= next_look:
                    next_look = now + LOOK_AROUND_S
                    self._look_around()
                if self._stop_at is not None and now >= self._stop_at:
                    self._cut_off(alive)
                if now >= next_hold:
                    next_hold = now + self._heartbeat_s
                    tasks = [task.id for task in list(state.reserved_requests)]
                    lost_launches.hold(self._broker, tasks, seconds=3 * self._heartbeat_s)
            except redis.RedisError as error:  # that it is away is said by the consumer, once
                logger.debug("The broker does not answer: %s", error)
            except Exception:
                logger.exception("Watching over the runs failed; trying again")
                self._ended.wait(1.0)

    def _is_lost(self, row: Heartbeat) -> bool:
        if heartbeats.is_running(row.pid):
            return False
        logger.error("Process %s died while it executed run %s", row.pid, row.run_id)
        self._try_to_report(row, f"The process that executed the run (pid {row.pid} on {row.host}) died.")
        return True

    def _try_to_report(self, row: Heartbeat, message: str) -> None:
        """Report the run as lost; where that fails, the other runs are watched over all the same, and it is tried again."""
        try:
            self._report(row, message)
        except Exception:
            logger.exception("Run %s could not be reported as lost; trying again", row.run_id)

    def _report(
        self, row: Heartbeat, message: str, *, how: Literal["over", "lost", "cancelled"] = "lost"
    ) -> None:
        """Tell Dagster that nobody executes the run any more."""
        run = self._instance.get_run_by_id(row.run_id)
        if run is not None and run.status == DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, f"Canceled. {message}")
            how = "cancelled"
        elif run is not None and not run.is_finished:
            failure = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
            self._instance.report_run_failed(run, message, failure)
        worker = Worker(id=row.worker, host=row.host, pid=row.worker_pid)
        tags = {} if run is None else run.tags
        heartbeats.end(self._engine, run_id=row.run_id, worker=worker, tags=tags, ending=Ending(how))
        self._interrupted.pop(row.run_id, None)

    def _interrupt_cancelled(self, rows: Sequence[Heartbeat]) -> None:
        now = time.monotonic()
        for row in rows:
            if row.cancel_requested_at is None:
                continue
            sent = self._interrupted.setdefault(row.run_id, [])
            if sent and now - sent[0] >= KILL_AFTER_S:
                logger.warning("Run %s did not heed its interrupt; killing process %s", row.run_id, row.pid)
                _signal(row.pid, signal.SIGKILL)
            elif not sent or now - sent[-1] >= INTERRUPT_EVERY_S:
                sent.append(now)
                _signal(row.pid, signal.SIGINT)
        for run_id in self._interrupted.keys() - {row.run_id for row in rows}:
            del self._interrupted[run_id]

    def _look_around(self) -> None:
        for row in heartbeats.abandoned(self._engine, host=self._worker.host):
            self._try_to_report(
                row, f"The worker that executed the run (pid {row.worker_pid} on {row.host}) died."
            )
        heartbeats.prune(self._engine)
        suspects = lost_launches.suspects(self._instance, self._engine, self._broker)
        for run_id in suspects & self._suspects:
            lost_launches.fail(self._instance, run_id)
        self._suspects = suspects

    def _cut_off(self, rows: Sequence[Heartbeat]) -> None:
        """Report what is still executed as failed, so that its work is dispatched again, and leave."""
        for row in rows:
            _signal(row.pid, signal.SIGKILL)
            self._report(row, "The worker was stopped before the run ended.", how="over")
        logger.warning("Stopped with %d runs cut off", len(rows))
        os._exit(0)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        logger.info("Process %s has ended by itself", pid)
