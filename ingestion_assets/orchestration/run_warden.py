"""A thread in a worker's parent process that watches over the runs of its children.

It beats for those that make progress, interrupts what is to be cancelled and what makes none (and kills what does not heed
it), reports the runs of lost children and dead workers, and cuts runs off when the worker's time to stop is over.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence

import psutil
import redis
from dagster import DagsterInstance, DagsterRunStatus

from ingestion_assets.orchestration import heartbeats, lost_launches
from ingestion_assets.orchestration.celery_internals import tasks_held_by_worker
from ingestion_assets.orchestration.dagster_internals import JobFailureData, RunFailureReason
from ingestion_assets.orchestration.heartbeats import OVER, Ending, Heartbeat, Worker
from ingestion_assets.orchestration.memory_watch import MemoryWatch
from ingestion_assets.orchestration.run_progress import Progress, is_stopped
from ingestion_assets.orchestration.worker_runs import WorkerRuns

logger = logging.getLogger(__name__)

TICK_S = 0.4
INTERRUPT_EVERY_S = 1.0
KILL_AFTER_S = 3.0  # after the first interrupt: the click in the UI must show within 5 s
STALLED_KILL_AFTER_S = 10.0  # after the interrupt: time to give the payloads back
LOOK_AROUND_S = 5.0
LOST = Ending("lost")


class RunWarden(threading.Thread):
    """Watches over the `runs` of a worker from `start()` on; `drain_s`: seconds that they get to end once it is to stop."""

    def __init__(
        self, *, instance: DagsterInstance, runs: WorkerRuns, drain_s: float, broker_url: str
    ) -> None:
        super().__init__(name="run-warden", daemon=True)
        self._instance = instance
        self._runs = runs
        self._engine = runs.engine
        self._worker = runs.worker
        self._heartbeat_s = runs.settings.heartbeat_s
        self._drain_s = drain_s
        self._stalled_s = runs.settings.run_stalled_s
        # Before its lease runs out, and another run may hold its lane.
        self._kill_after_s = min(STALLED_KILL_AFTER_S, runs.settings.lease_s / 2)
        self._progress = Progress()
        self._idle = Progress()
        self._memory = MemoryWatch()
        self._stalled: dict[str, tuple[str, float]] = {}
        self._broker = redis.Redis.from_url(broker_url, socket_timeout=5, socket_connect_timeout=2)
        self._suspects: dict[str, float] = {}
        self._interrupted: dict[str, list[float]] = {}
        self._stop_at: float | None = None
        self._ended = threading.Event()

    def drain(self) -> None:
        """The worker takes no new runs; its runs are asked to end at a safe point, and cut off after `drain_s`."""
        self._stop_at = self._stop_at or time.monotonic() + self._drain_s

    def run(self) -> None:
        next_beat = next_look = next_hold = 0.0
        while not self._ended.wait(TICK_S):
            now = time.monotonic()
            try:
                rows = self._runs.live()
                alive = [row for row in rows if not self._is_lost(row)]
                self._memory.look({row.run_id: row.pid for row in rows})
                if self._stop_at is not None:
                    heartbeats.ask_to_stop(self._engine, worker=self._worker)
                self._end_stalled(alive)
                if now >= next_beat:
                    moving = [row.run_id for row in alive if row.run_id not in self._stalled]
                    self._runs.beat(moving)
                    next_beat = now + self._heartbeat_s
                self._interrupt_cancelled(alive)
                self._forget_all_but({row.run_id for row in rows})
                if now >= next_look:
                    next_look = now + LOOK_AROUND_S
                    self._end_stopped_children({row.pid for row in rows})
                    self._look_around()
                if self._stop_at is not None and now >= self._stop_at:
                    self._cut_off(alive)
                if now >= next_hold:
                    next_hold = now + self._heartbeat_s
                    lost_launches.hold(self._broker, tasks_held_by_worker(), seconds=3 * self._heartbeat_s)
            except redis.RedisError as error:  # that it is away is said by the consumer, once
                logger.debug("The broker does not answer: %s", error)
            except Exception:
                logger.exception("Watching over the runs failed; trying again")
                self._ended.wait(1.0)

    def _is_lost(self, row: Heartbeat) -> bool:
        if heartbeats.is_still_there(row.pid, row.pid_start):
            return False
        logger.error("Process %s died while it executed run %s", row.pid, row.run_id)
        who = f"The process that executed the run (pid {row.pid} on {row.host})"
        held = self._memory.says(row.run_id)
        if row.run_id in self._stalled:
            reason = f"{self._stalled[row.run_id][0]}, and did not heed its interrupt"
            self._try_to_report(row, f"The run was ended: {reason}.", Ending("stalled", reason))
        elif self._memory.system_killed_for_it():
            message = f"{who} was killed by the system, which ran out of memory; {held}."
            self._try_to_report(row, message, Ending("out of memory", held))
        else:
            self._try_to_report(row, f"{who} died; {held}.", Ending("lost", held))
        return True

    def _try_to_report(self, row: Heartbeat, message: str, ending: Ending = LOST) -> None:
        """Report the run as lost; where that fails, the other runs are watched over all the same, and it is tried again."""
        try:
            self._report(row, message, ending)
        except Exception:
            logger.exception("Run %s could not be reported as lost; trying again", row.run_id)

    def _report(self, row: Heartbeat, message: str, ending: Ending) -> None:
        """Tell Dagster that nobody executes the run any more."""
        run = self._instance.get_run_by_id(row.run_id)
        if run is not None and run.status == DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, f"Canceled. {message}")
            ending = Ending("cancelled")
        elif run is not None and not run.is_finished:
            failure = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
            self._instance.report_run_failed(run, message, failure)
        worker = Worker(id=row.worker, host=row.host, pid=row.worker_pid)
        tags = {} if run is None else run.tags
        self._runs.end(row.run_id, tags=tags, ending=ending, worker=worker)

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

    def _end_stalled(self, rows: Sequence[Heartbeat]) -> None:
        """Interrupt runs that make no progress, with the reason for whoever gives their payloads back; then kill them."""
        now = time.monotonic()
        for row in rows:
            if row.run_id in self._stalled:
                if now - self._stalled[row.run_id][1] >= self._kill_after_s:
                    _signal(row.pid, signal.SIGKILL)
                continue
            still_s = self._progress.still_s(row.run_id, row.pid)
            if still_s >= self._stalled_s:
                self._interrupt_stalled(row, still_s)

    def _interrupt_stalled(self, row: Heartbeat, still_s: float) -> None:
        state = "stopped by a signal" if is_stopped(row.pid) else "waiting for something that does not come"
        reason = f"for {still_s:.0f} s it made no progress: its process ({row.pid} on {row.host}) was {state}"
        logger.error("Run %s is interrupted: %s", row.run_id, reason)
        heartbeats.note_interrupt(self._engine, run_id=row.run_id, reason=reason)
        self._stalled[row.run_id] = (reason, time.monotonic())
        _signal(row.pid, signal.SIGINT)
        _signal(row.pid, signal.SIGCONT)
        run = self._instance.get_run_by_id(row.run_id)
        if run is not None:
            self._instance.report_engine_event(f"The run is interrupted: {reason}.", run)

    def _forget_all_but(self, run_ids: set[str]) -> None:
        self._progress.forget_all_but(run_ids)
        for known in (self._stalled, self._interrupted):
            for run_id in known.keys() - run_ids:
                del known[run_id]

    def _end_stopped_children(self, executing: set[int]) -> None:
        """Kill children that a signal stopped before they told of their run: what they are given would wait for ever.

        The pool starts others, and a run that such a child took is found to be lost.
        """
        stopped = {
            child.pid
            for child in psutil.Process(self._worker.pid).children()
            if child.pid not in executing and is_stopped(child.pid)
        }
        for pid in stopped:
            if self._idle.still_s(pid, pid) >= self._stalled_s:
                logger.error("Process %s was stopped by a signal for too long; killing it", pid)
                _signal(pid, signal.SIGKILL)
        self._idle.forget_all_but(stopped)

    def _look_around(self) -> None:
        abandoned = heartbeats.abandoned(self._engine, host=self._worker.host)
        for row in [one for one in abandoned if one.worker != self._worker.id]:
            self._try_to_report(
                row, f"The worker that executed the run (pid {row.worker_pid} on {row.host}) died."
            )
        heartbeats.prune(self._engine)
        suspects = lost_launches.suspects(self._instance, self._engine, self._broker)
        now = time.monotonic()
        self._suspects = {run_id: self._suspects.get(run_id, now) for run_id in suspects}
        for run_id, since in self._suspects.items():
            if now - since >= lost_launches.GRACE_S:
                lost_launches.fail(self._instance, run_id, self._runs)

    def _cut_off(self, rows: Sequence[Heartbeat]) -> None:
        """Report what is still executed as failed, so that its work is dispatched again, and leave."""
        for row in rows:
            _signal(row.pid, signal.SIGKILL)
            self._report(row, "The worker was stopped before the run ended.", OVER)
        logger.warning("Stopped with %d runs cut off", len(rows))
        os._exit(0)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        logger.info("Process %s has ended by itself", pid)
