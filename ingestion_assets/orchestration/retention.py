"""The job that deletes what is finished for long enough, every night: payloads, and runs of Dagster with their logs.

A run goes through Dagster's own API, with all its events. Those that wrote the newest materialization of an asset or of one
of its partitions stay, so that nothing turns to "missing" in the UI; what goes is the history before it.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from ingestion_assets.landing.flows import Flow
from ingestion_assets.settings import load_settings

RUNS_AT_ONCE = 500
MAX_RUNTIME_S = 3600
NOT_SET = "INGESTION_RETENTION_DAYS is not set, so everything is kept."


def limit(now: datetime) -> datetime | None:
    """What ended before then is deleted; None where everything is kept."""
    days = load_settings().retention_days
    return None if days is None else now - timedelta(days=days)


def expired_runs(instance: dg.DagsterInstance, *, before: datetime) -> Iterator[str]:
    """Ids of the runs that ended before then and whose materializations are all superseded, oldest first."""
    newest = _newest_materializations(instance)
    cursor = None
    while True:
        found = instance.get_run_records(
            dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=before),
            limit=RUNS_AT_ONCE,
            cursor=cursor,
            ascending=True,
        )
        for record in found:
            cursor = record.dagster_run.run_id
            if newest.isdisjoint(_materializations(instance, cursor)):
                yield cursor
        if len(found) < RUNS_AT_ONCE:
            return


def _newest_materializations(instance: dg.DagsterInstance) -> set[int]:
    """Storage ids of the newest materialization of every asset and partition."""
    log, kind = instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
    keys = instance.get_asset_keys()
    newest = {
        found for found in log.get_latest_materialization_storage_ids(keys).values() if found is not None
    }
    for key in keys:
        newest.update(log.get_latest_storage_id_by_partition(key, kind).values())
    return newest


def _materializations(instance: dg.DagsterInstance, run_id: str) -> set[int]:
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return {record.storage_id for record in instance.get_records_for_run(run_id, of_type=kind).records}


def retention_definitions(flows: Collection[Flow]) -> dg.Definitions:
    """The job and its schedule."""

    @dg.op(
        description="Deletes finished payloads and superseded runs that are older than INGESTION_RETENTION_DAYS."
    )
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
        runs = list(expired_runs(context.instance, before=before))
        for run_id in runs:
            context.instance.delete_run(run_id)
        context.log.info(
            f"Before {before:%Y-%m-%d %H:%M} UTC: deleted {deleted.payloads} payloads of {deleted.bytes} bytes, "
            f"{deleted.segments} segments, {deleted.inbox_days} days of inbox files, {len(runs)} runs; "
            f"{deleted.busy_lanes} lanes are at work and left for tomorrow."
        )

    @dg.job(
        name="retention",
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
        executor_def=dg.in_process_executor,
        description="Delete finished payloads and superseded runs that are older than INGESTION_RETENTION_DAYS.",
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
