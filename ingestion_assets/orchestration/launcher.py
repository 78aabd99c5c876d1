"""Dagster's run launcher: sends runs to the warm workers, cancels them and tells whether they are alive."""

from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun, DagsterRunStatus, Field, StringSource
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, ResumeRunContext, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import (
    DAGSTER_CELERY_QUEUE_TAG,
    DAGSTER_CELERY_RUN_PRIORITY_TAG,
    DAGSTER_CELERY_TASK_ID_TAG,
)

from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.celery_app import DEFAULT_QUEUE, make_app, send_run
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres


class WarmRunLauncher(CeleryRunLauncher):
    """`CeleryRunLauncher` whose cancel and health work by heartbeats instead of by Celery's results.

    The Celery task of a run has the run's id and is never revoked: a worker that gets the task of a run that is
    cancelled, finished or executed elsewhere leaves it alone.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, redis_url: str | None = None) -> None:
        self._settings = load_settings()
        if redis_url:
            self._settings = self._settings.model_copy(update={"redis_url": redis_url})
        super().__init__(default_queue=DEFAULT_QUEUE, inst_data=inst_data)
        self.celery = make_app(self._settings)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the run to the broker. Raises within seconds where there is none; Dagster then fails the run."""
        run = context.dagster_run
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        if run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) != run.run_id:
            self._instance.add_run_tags(run.run_id, {DAGSTER_CELERY_TASK_ID_TAG: run.run_id})
        send_run(self.celery, run_id=run.run_id, queue=queue, priority=_priority(run))

    def terminate(self, run_id: str) -> bool:
        """Cancel the run: at once where no process executes it yet, else by an interrupt within seconds."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status != DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        # A worker claims the heartbeat before it reads the run's status. So a run without one will not start.
        if not heartbeats.request_cancel(postgres.engine(), run_id=run_id):
            current = self._instance.get_run_by_id(run_id)
            if current is not None and not current.is_finished:
                self._instance.report_run_canceled(
                    current, "The run was canceled before a worker started it."
                )
        return True

    @property
    def supports_resume_run(self) -> bool:
        """A run whose process is lost is failed and its work dispatched again; it is never resumed."""
        return False

    def resume_run(self, context: ResumeRunContext) -> None:
        raise NotImplementedError("Runs are not resumed; re-execute them from failure instead.")

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the heartbeat is fresh, FAILED once it is stale or ended, never UNKNOWN."""
        found = heartbeats.heartbeat(postgres.engine(), run_id=run.run_id, lease_s=self._settings.lease_s)
        if found is None:
            if (
                DAGSTER_CELERY_TASK_ID_TAG not in run.tags
            ):  # executed by another process, `dagster job execute` say
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
        include_container_logs: bool | None = True,  # noqa: ARG002
    ) -> str | None:
        found = heartbeats.heartbeat(postgres.engine(), run_id=run.run_id, lease_s=self._settings.lease_s)
        return None if found is None else str(found[0])

    @classmethod
    def config_type(cls) -> Any:
        return {
            "redis_url": Field(
                StringSource, is_required=False, description="The broker. Default: the URL of the settings."
            )
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, redis_url=config_value.get("redis_url"))


def _priority(run: DagsterRun) -> int:
    value = run.tags.get(DAGSTER_CELERY_RUN_PRIORITY_TAG, "0")
    return int(value) if value.lstrip("-").isdecimal() else 0
