"""The job that deletes Dagster's runs once they are old enough or too much. Payloads have a retention of their own."""

import dagster as dg

from ingestion_assets.orchestration.jobs import scheduled_op
from ingestion_assets.settings import load_settings

NOT_SET = "INGESTION_RUN_RETENTION_DAYS is 0 and INGESTION_RUN_RETENTION_GB is not set, so all runs are kept."


def run_retention_definitions() -> dg.Definitions:
    """The job and its schedule."""

    def delete_expired_runs(context: dg.OpExecutionContext) -> None:
        from ingestion_assets.landing.clock import ledger_now  # noqa: PLC0415
        from ingestion_assets.orchestration.expired_runs import (  # noqa: PLC0415
            bytes_of_a_run,
            delete_runs,
            due,
            make_room,
        )
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        runs = due(context.instance, ledger_now(postgres.engine()))
        if runs:
            delete_runs(context.instance, runs)
            make_room(context.instance)
        context.log.info(
            f"Deleted {len(runs)} runs; one takes about {bytes_of_a_run(context.instance):,} bytes."
        )

    def why_not() -> str | None:
        settings = load_settings()
        is_set = settings.run_retention_days or settings.run_retention_gb is not None
        return None if is_set else NOT_SET

    return scheduled_op(
        delete_expired_runs,
        job="run_retention",
        description="Delete Dagster's superseded runs beyond INGESTION_RUN_RETENTION_DAYS and INGESTION_RUN_RETENTION_GB.",
        schedule="run_retention_hourly",
        cron_schedule="45 * * * *",
        why_not=why_not,
    )
