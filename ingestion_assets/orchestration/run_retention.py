"""The job that deletes Dagster's runs once they are old enough or too much. Payloads have a retention of their own."""

import dagster as dg

from ingestion_assets.orchestration.retention import ledger_now
from ingestion_assets.settings import load_settings

MAX_RUNTIME_S = 3600
NOT_SET = "INGESTION_RUN_RETENTION_DAYS is 0 and INGESTION_RUN_RETENTION_GB is not set, so all runs are kept."


def is_set() -> bool:
    """Whether any run is ever to go."""
    settings = load_settings()
    return bool(settings.run_retention_days) or settings.run_retention_gb is not None


def run_retention_definitions() -> dg.Definitions:
    """The job and its schedule."""
    described = (
        "Delete Dagster's superseded runs beyond INGESTION_RUN_RETENTION_DAYS and INGESTION_RUN_RETENTION_GB."
    )

    @dg.op(description=described)
    def delete_expired_runs(context: dg.OpExecutionContext) -> None:
        from ingestion_assets.orchestration.expired_runs import (  # noqa: PLC0415
            bytes_of_a_run,
            delete_runs,
            due,
            make_room,
        )

        runs = due(context.instance, ledger_now())
        if runs:
            delete_runs(context.instance, runs)
            make_room(context.instance)
        context.log.info(
            f"Deleted {len(runs)} runs; one takes about {bytes_of_a_run(context.instance):,} bytes."
        )

    @dg.job(
        name="run_retention",
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
        executor_def=dg.in_process_executor,
        description=described,
    )
    def run_retention_job() -> None:
        delete_expired_runs()

    @dg.schedule(
        name="run_retention_hourly",
        job=run_retention_job,
        cron_schedule="45 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Deletes every hour the runs that are old or too much; nothing where all are to be kept.",
    )
    def run_retention_hourly() -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest() if is_set() else dg.SkipReason(NOT_SET)

    return dg.Definitions(jobs=[run_retention_job], schedules=[run_retention_hourly])
