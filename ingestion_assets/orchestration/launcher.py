"""Dagster's run launcher: sends runs to the warm workers, cancels them and tells whether they are alive.

The launcher is the instance's, so the runs of all its code locations come here. Warm are those of our location, and those of others
whose jobs are for a queue of the workers, such as the flows' of a user's project; the rest goes on to the launcher that the instance
would have without ours.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
import yaml
from dagster import (
    Array,
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Field,
    Permissive,
    StringSource,
)
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_RUN_PRIORITY_TAG
from kombu.exceptions import OperationalError

from ingestion_assets.landing.run_tags import LOCATION
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.broker_watch import BrokerWatch
from ingestion_assets.orchestration.celery_app import make_app, send_run
from ingestion_assets.orchestration.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    JobPythonOrigin,
    LaunchRunContext,
    QueuedRunCoordinator,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from ingestion_assets.orchestration.queues import DEFAULT_QUEUE, QUEUE_TAG, QUEUES, TASK_TAG, queue_of
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres

logger = logging.getLogger(__name__)

DEFAULT_LAUNCHER: Mapping[str, Any] = {"module": "dagster", "class": "DefaultRunLauncher"}


class WarmRunLauncher(CeleryRunLauncher):
    """`CeleryRunLauncher` whose cancel and health work by heartbeats instead of by Celery's results.

    The Celery task of a run has the run's id and is never revoked: a worker that gets the task of a run that
    is cancelled, finished or executed elsewhere leaves it alone.

    `locations` names the code locations all of whose runs the workers take; of others they take the runs whose tags name a queue of
    theirs. They must be able to import both. `others` is the launcher of all other runs: `module`, `class` and `config`, as in a
    `dagster.yaml`.
    """

    def __init__(
        self,
        inst_data: ConfigurableClassData | None = None,
        redis_url: str | None = None,
        postgres_url: str | None = None,
        locations: Sequence[str] = (LOCATION,),
        others: Mapping[str, Any] = DEFAULT_LAUNCHER,
    ) -> None:
        given = {"redis_url": redis_url, "postgres_url": postgres_url}
        self._settings = load_settings().model_copy(update={key: url for key, url in given.items() if url})
        super().__init__(default_queue=DEFAULT_QUEUE, inst_data=inst_data)
        if self._settings.redis_url is not None:
            self.celery = make_app(self._settings)
        self.broker = BrokerWatch(self.celery)
        self._locations = frozenset(locations)
        data = ConfigurableClassData(
            others["module"], others["class"], yaml.safe_dump(others.get("config", {}))
        )
        self.others = data.rehydrate(as_type=RunLauncher)

    def register_instance(self, instance: DagsterInstance) -> None:
        super().register_instance(instance)
        self.others.register_instance(instance)

    def dispose(self) -> None:
        self.others.dispose()
        super().dispose()

    def join(self, timeout: int = 30) -> None:
        self.others.join(timeout)

    def is_warm(self, run: DagsterRun) -> bool:
        """Whether the run is for the warm workers. One that says no location was started by its own process."""
        origin = run.remote_job_origin
        if origin is None or origin.repository_origin.code_location_origin.location_name in self._locations:
            return True
        return run.tags.get(QUEUE_TAG) in QUEUES and not _has_another_python(run)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the run to the broker. What it does not take goes back to Dagster's queue.

        Raises `OperationalError` where there is no queue either; Dagster then fails the run.
        """
        run = context.dagster_run
        if not self.is_warm(run):
            self.others.launch_run(context)
            return
        self._settings.require("redis_url")
        if run.tags.get(TASK_TAG) != run.run_id:
            self._instance.add_run_tags(run.run_id, {TASK_TAG: run.run_id})
        refusal, away = self._send(run), None
        if refusal is not None and (away := self.broker.look()) is None:
            refusal = self._send(run)  # it was away for a moment only
        if refusal is None:
            return
        if not isinstance(self._instance.run_coordinator, QueuedRunCoordinator):
            raise refusal
        self.broker.refused(away)
        if away is None:
            logger.warning("The broker answers and does not take run %s: %s", run.run_id, refusal)
        self._queue_again(run.run_id, f"The broker did not take the run, which waits in the queue: {refusal}")

    def _send(self, run: DagsterRun) -> OperationalError | None:
        queue = queue_of(run.tags)
        try:
            send_run(self.celery, run_id=run.run_id, queue=queue, priority=_priority(run))
        except OperationalError as error:
            return error
        return None

    def _queue_again(self, run_id: str, why: str) -> None:
        """Give a run back to the queue, unless it was sent after all, or cancelled."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None and run.status == DagsterRunStatus.STARTING:
            self._instance.report_engine_event(why, run)
            self._instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run_id)

    def terminate(self, run_id: str) -> bool:
        """Cancel the run: at once where no process executes it yet, else by an interrupt within seconds."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if not self.is_warm(run):
            return self.others.terminate(run_id)
        if self._is_foreign(run) and self._heartbeat(run) is None:
            return False
        if run.status != DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        # A worker claims the heartbeat before it reads the run's status. So a run without one will not start.
        heartbeats.request_cancel(self._engine, run_id=run_id)
        found = self._heartbeat(run)
        if found is None or not found[1]:
            current = self._instance.get_run_by_id(run_id)
            if current is not None and not current.is_finished:
                self._instance.report_run_canceled(current, "The run was canceled; no process executed it.")
        return True

    @property
    def supports_resume_run(self) -> bool:
        """A run whose process is lost is failed and its work dispatched again; it is never resumed."""
        return False

    def resume_run(self, context: ResumeRunContext) -> None:
        raise NotImplementedError("Runs are not resumed; re-execute them from failure instead.")

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the heartbeat is fresh, FAILED once it is stale or ended, never UNKNOWN.

        Of another launcher's run what that says; RUNNING where it cannot say, as Dagster takes it then.
        """
        if not self.is_warm(run):
            if self.others.supports_check_run_worker_health:
                return self.others.check_run_worker_health(run)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        found = self._heartbeat(run)
        if found is None:
            if self._is_foreign(run):
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            return CheckRunHealthResult(WorkerStatus.FAILED, "No process executes the run.")
        row, alive = found
        if alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(row.worker))
        what = (
            "ended without finishing the run" if row.ended_at else f"last beat at {row.beat_at.isoformat()}"
        )
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"The process {row.pid} on {row.host} {what}.", run_worker_id=str(row.worker)
        )

    def get_run_worker_debug_info(
        self,
        run: DagsterRun,
        include_container_logs: bool | None = True,
    ) -> str | None:
        if not self.is_warm(run):
            return self.others.get_run_worker_debug_info(run, include_container_logs)
        found = self._heartbeat(run)
        return None if found is None else str(found[0])

    @property
    def _engine(self) -> sa.Engine:
        return postgres.engine(self._settings.require("postgres_url"))

    def _heartbeat(self, run: DagsterRun) -> tuple[heartbeats.Heartbeat, bool] | None:
        return heartbeats.heartbeat(self._engine, run_id=run.run_id, lease_s=self._settings.lease_s)

    @staticmethod
    def _is_foreign(run: DagsterRun) -> bool:
        """Whether another process started the run by itself, `dagster job execute` say."""
        return TASK_TAG not in run.tags

    @classmethod
    def config_type(cls) -> Any:
        default = "Default: the URL of the settings."
        return {
            "redis_url": Field(StringSource, is_required=False, description=f"The broker. {default}"),
            "postgres_url": Field(StringSource, is_required=False, description=f"The heartbeats. {default}"),
            "locations": Field(
                Array(str),
                is_required=False,
                description="The code locations all of whose runs the workers take.",
            ),
            "others": Field(
                {"module": str, "class": str, "config": Field(Permissive(), is_required=False)},
                is_required=False,
                description="The launcher of all other runs. Default: Dagster's own.",
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)


def _has_another_python(run: DagsterRun) -> bool:
    """Whether the run's code has a virtual environment of its own on this machine, so that workers cannot import it."""
    origin = run.job_code_origin
    python = (
        origin.repository_origin.executable_path if isinstance(origin, JobPythonOrigin) else sys.executable
    )
    return Path(python).parent != Path(sys.executable).parent and Path(python).exists()


def _priority(run: DagsterRun) -> int:
    value = run.tags.get(DAGSTER_CELERY_RUN_PRIORITY_TAG, "0")
    return int(value) if value.lstrip("-").isdecimal() else 0
