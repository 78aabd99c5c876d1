"""The job that deletes payloads that are finished for long enough, every night. Runs of Dagster go by `run_retention.py`."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion_assets.landing.flows import Flow
from ingestion_assets.settings import load_settings

MAX_RUNTIME_S = 3600
NOT_SET = "INGESTION_RETENTION_DAYS is not set, so all payloads are kept."


def limit(now: datetime) -> datetime | None:
    """What ended before then is deleted; None where everything is kept."""
    days = load_settings().retention_days
    return None if days is None else now - timedelta(days=days)


def retention_definitions(flows: Collection[Flow]) -> dg.Definitions:
    """The job and its schedule."""

    @dg.op(description="Deletes finished payloads that are older than INGESTION_RETENTION_DAYS.")
    def delete_expired(context: dg.OpExecutionContext) -> None:
        from ingestion_assets.landing import retention  # noqa: PLC0415
        from ingestion_assets.landing.storage import open_storage  # noqa: PLC0415
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        before = limit(datetime.now(UTC))
        if before is None:
            raise dg.Failure(NOT_SET, allow_retries=False)
        deleted = retention.delete_finished(
            postgres.engine(), open_storage(load_settings()), flows, before=before, holder=context.run_id
        )
        context.log.info(
            f"Before {before:%Y-%m-%d %H:%M} UTC: deleted {deleted.payloads} payloads of {deleted.bytes} bytes, "
            f"{deleted.segments} segments, {deleted.inbox_days} days of inbox files; "
            f"{deleted.busy_lanes} lanes are at work and left for tomorrow."
        )

    @dg.job(
        name="retention",
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
        executor_def=dg.in_process_executor,
        description="Delete finished payloads that are older than INGESTION_RETENTION_DAYS.",
    )
    def retention_job() -> None:
        delete_expired()

    @dg.schedule(
        name="retention_daily",
        job=retention_job,
        cron_schedule="15 3 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Deletes every night what is older than INGESTION_RETENTION_DAYS; nothing where that is not set.",
    )
    def retention_daily() -> dg.RunRequest | dg.SkipReason:
        return dg.SkipReason(NOT_SET) if limit(datetime.now(UTC)) is None else dg.RunRequest()

    return dg.Definitions(jobs=[retention_job], schedules=[retention_daily])
