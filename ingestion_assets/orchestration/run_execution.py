"""Executing one run in a worker's child process, with whatever may go wrong reported to Dagster."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import tenacity
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ingestion_assets.landing.run_tags import DISPATCH_TAG
from ingestion_assets.orchestration.dagster_internals import (
    DagsterExecutionInterruptedError,
    EngineEventData,
    JobPythonOrigin,
    capture_interrupts,
    execute_run_iterator,
    serializable_error_info_from_exc_info,
)
from ingestion_assets.orchestration.heartbeats import OVER, Ending
from ingestion_assets.orchestration.kept_events import sparing
from ingestion_assets.orchestration.queues import GPU_QUEUE, queue_of
from ingestion_assets.orchestration.retries import what_failed
from ingestion_assets.orchestration.warm_code import WarmCode
from ingestion_assets.orchestration.worker_runs import WorkerRuns

logger = logging.getLogger(__name__)

STARTABLE = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)
_GONE = (DBAPIError, PoolTimeout, psycopg.Error, DagsterPostgresException)

# A database that is away is waited for: a run that is neither executed nor reported would be nobody's.
_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception_type(_GONE),
    wait=tenacity.wait_exponential(multiplier=0.1, max=5),
    stop=tenacity.stop_after_delay(600),
    reraise=True,
)


def execute_run(run_id: str, *, instance: DagsterInstance, runs: WorkerRuns, code: WarmCode) -> bool:
    """Execute the run unless it is cancelled, finished, deleted or executed elsewhere; tells whether it was.

    How the run ended stands in Dagster's event log, never in an exception. Where not even that can be told, the calling
    process ends: its warden reports the runs of processes that are gone.
    """
    if not _patiently(runs.claim)(run_id):
        logger.info("Run %s is executed by another process; this delivery of it is ignored", run_id)
        return False
    run: DagsterRun | None = None
    try:
        run = _patiently(instance.get_run_by_id)(run_id)
        if run is None or not _may_start(run, instance=instance):
            return False
        spare, often = DISPATCH_TAG in run.tags, queue_of(run.tags) != GPU_QUEUE
        with sparing(run_id, spare=spare, checks=often), runs.at_work(), _interruptible():
            _drive(run, instance=instance, code=code)
        return True
    finally:
        try:
            ending = _patiently(_settle)(run_id, instance=instance)
            _patiently(runs.end)(run_id, tags={} if run is None else run.tags, ending=ending)
        except BaseException:
            logger.exception("The end of run %s could not be told; its process ends too", run_id)
            os._exit(1)


def _may_start(run: DagsterRun, *, instance: DagsterInstance) -> bool:
    if run.status in STARTABLE:
        return True
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The run was canceled before it started.")
    elif not run.is_finished:
        instance.report_engine_event(f"Ignored a second start of the run, which is {run.status.value}.", run)
    logger.info("Run %s is %s and not started", run.run_id, run.status.value)
    return False


def _drive(run: DagsterRun, *, instance: DagsterInstance, code: WarmCode) -> None:
    try:
        if not isinstance(run.job_code_origin, JobPythonOrigin):
            raise LookupError(f"Run {run.run_id} doesn't say where its job is defined.")
        for _event in execute_run_iterator(code.job(run.job_code_origin), run, instance):
            pass
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        logger.info("Run %s was interrupted", run.run_id)
    except Exception:
        logger.exception("Run %s failed outside its steps", run.run_id)
        error = serializable_error_info_from_exc_info(sys.exc_info())
        try:
            instance.report_engine_event(
                "The run failed outside its steps.", run, EngineEventData.engine_error(error)
            )
        except _GONE:
            logger.warning("That could not be told to Dagster; the run will be reported as failed.")


def _settle(run_id: str, *, instance: DagsterInstance) -> Ending:
    """No run is left unfinished by a process that no longer executes it. Gives how it ended."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return OVER
    if run.status == DagsterRunStatus.FAILURE:
        return Ending("failed", what_failed(instance, run_id))
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run)
    elif run.status in STARTABLE or run.status == DagsterRunStatus.STARTED:
        instance.report_run_failed(run, "The run ended before all its steps were done.")
    canceled = run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)
    return Ending("cancelled") if canceled else OVER


@contextmanager
def _interruptible() -> Iterator[None]:
    """Dagster's interrupt handling for the block; afterwards Celery's own handlers again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with capture_interrupts():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
