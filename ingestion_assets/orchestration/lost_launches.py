"""Runs that nobody will start: their launcher died before it sent them, or the broker lost their task."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import redis
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.events import JobFailureData, RunFailureReason
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from ingestion_assets.landing.run_tags import DISPATCH_TAG
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.celery_app import KEY_PREFIX, QUEUES

GRACE = timedelta(seconds=5)  # from the launch until the task must be in the broker
NOT_SENT = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)


def hold(broker: redis.Redis, run_ids: Iterable[str], *, seconds: float) -> None:
    """Say that a worker that lives has the tasks of these runs; it must say so again within `seconds`."""
    for run_id in run_ids:
        broker.set(_held(run_id), 1, px=int(seconds * 1000))


def _held(run_id: str) -> str:
    return f"{KEY_PREFIX}held:{run_id}"


def suspects(instance: DagsterInstance, engine: sa.Engine, broker: redis.Redis) -> set[str]:
    """Ids of runs that wait for longer than the grace with no task in the broker and no process.

    Those are runs on their way to the broker, and dispatched runs that were created but never submitted: the
    ledger asks for others. Runs that a person created wait for that person. A task that the broker has handed out and
    that no worker holds went down with its worker: the broker itself would hand it out again after a day.

    A worker moves a task in two steps, so only a run that is suspect twice in a row is lost.
    """
    records = instance.get_run_records(
        RunsFilter(statuses=list(NOT_SENT), updated_before=datetime.now(UTC) - GRACE)
    )
    waiting = {
        record.dagster_run.run_id
        for record in records
        if {DAGSTER_CELERY_TASK_ID_TAG, DISPATCH_TAG} & record.dagster_run.tags.keys()
    }
    if not waiting:
        return set()
    waiting -= set(_tasks_in_broker(broker))
    return {run_id for run_id in waiting if heartbeats.heartbeat(engine, run_id=run_id, lease_s=0) is None}


def fail(instance: DagsterInstance, run_id: str) -> None:
    """Report the run as failed, unless it has gone on since. A task of it that comes after all is ignored."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status in NOT_SENT:
        failure = JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT)
        instance.report_run_failed(
            run, "The run was never sent, or the broker lost its task before a worker took it.", failure
        )
        heartbeats.tell_end(run_id, run.tags, heartbeats.OVER)


def _tasks_in_broker(broker: redis.Redis) -> Iterator[str]:
    for queue in QUEUES:
        # Kombu keeps a list per priority, named after the queue with a separator and the priority.
        for key in broker.scan_iter(match=f"{KEY_PREFIX}{queue}*", _type="list"):
            for message in broker.lrange(key, 0, -1):  # pyright: ignore[reportGeneralTypeIssues]
                yield _task_id(json.loads(message))
    for delivery in broker.hvals(f"{KEY_PREFIX}unacked"):  # pyright: ignore[reportGeneralTypeIssues]
        task_id = _task_id(json.loads(delivery)[0])
        if broker.exists(_held(task_id)):
            yield task_id


def _task_id(message: dict[str, dict[str, str]]) -> str:
    return message.get("headers", {}).get("id", "")
