"""Runs that nobody will start: their launcher died before it sent them, or the broker lost their task."""

from collections.abc import Iterable

import redis
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from ingestion_assets.landing.run_tags import DISPATCH_TAG
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.celery_app import KEY_PREFIX
from ingestion_assets.orchestration.celery_internals import tasks_in_broker
from ingestion_assets.orchestration.dagster_internals import JobFailureData, RunFailureReason
from ingestion_assets.orchestration.queues import QUEUES, TASK_TAG
from ingestion_assets.orchestration.worker_runs import WorkerRuns

GRACE_S = 8.0  # for which a run must be seen without a task: until the broker has it a launch takes less
NOT_SENT = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)


def hold(broker: redis.Redis, run_ids: Iterable[str], *, seconds: float) -> None:
    """Say that a worker that lives has the tasks of these runs; it must say so again within `seconds`."""
    for run_id in run_ids:
        broker.set(_held(run_id), 1, px=int(seconds * 1000))


def _held(run_id: str) -> str:
    return f"{KEY_PREFIX}held:{run_id}"


def suspects(instance: DagsterInstance, engine: sa.Engine, broker: redis.Redis) -> set[str]:
    """Ids of runs that wait with no task in the broker and no process.

    Those are runs on their way to the broker, and dispatched runs that were created but never submitted: the
    ledger asks for others. Runs that a person created wait for that person. A task that the broker has handed out and
    that no worker holds went down with its worker: the broker itself would hand it out again after a day.

    A launch takes a moment, and a worker moves a task in two steps: only a run that whoever looks finds suspect for `GRACE_S`
    is lost, by its own clock. What time it was when the run was updated says nothing, as another clock did.
    """
    waiting = {
        run.run_id
        for run in instance.get_runs(RunsFilter(statuses=list(NOT_SENT)))
        if {TASK_TAG, DISPATCH_TAG} & run.tags.keys()
    }
    if not waiting:
        return set()
    waiting -= set(
        tasks_in_broker(
            broker, QUEUES, prefix=KEY_PREFIX, is_held=lambda task: bool(broker.exists(_held(task)))
        )
    )
    return {run_id for run_id in waiting if heartbeats.heartbeat(engine, run_id=run_id, lease_s=0) is None}


def fail(instance: DagsterInstance, run_id: str, runs: WorkerRuns) -> None:
    """Report the run as failed, unless it has gone on since. A task of it that comes after all is ignored."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status in NOT_SENT:
        failure = JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT)
        instance.report_run_failed(
            run, "The run was never sent, or the broker lost its task before a worker took it.", failure
        )
        runs.give_back(run_id, run.tags, heartbeats.OVER)
