"""The job that deletes payloads that are finished for long enough, every night. Runs of Dagster go by `run_retention.py`."""

from collections.abc import Collection
from datetime import timedelta

import dagster as dg

from ingestion_assets.landing.flows import Flow
from ingestion_assets.orchestration.jobs import scheduled_op
from ingestion_assets.orchestration.sensors import Others
from ingestion_assets.settings import load_settings

NOT_SET = "INGESTION_RETENTION_DAYS is not set, so all payloads are kept."


def retention_definitions(flows: Collection[Flow], *, others: Others) -> dg.Definitions:
    """The job and its schedule. `others` are the flows that come and go."""

    def delete_expired(context: dg.OpExecutionContext) -> None:
        from ingestion_assets.landing import retention  # noqa: PLC0415
        from ingestion_assets.landing.clock import ledger_now  # noqa: PLC0415
        from ingestion_assets.landing.storage import open_storage  # noqa: PLC0415
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        settings, engine = load_settings(), postgres.engine()
        if settings.retention_days is None:
            raise dg.Failure(NOT_SET, allow_retries=False)
        before = ledger_now(engine) - timedelta(days=settings.retention_days)
        with engine.connect() as connection:
            known = [*flows, *others(connection).values()]
        deleted = retention.delete_finished(
            engine, open_storage(settings), known, before=before, holder=context.run_id
        )
        context.log.info(
            f"Before {before:%Y-%m-%d %H:%M} UTC: deleted {deleted.payloads} payloads of {deleted.bytes} bytes, "
            f"{deleted.histories} rows that told of payloads which are gone, {deleted.segments} segments, {deleted.inbox_days} days of inbox files; "
            f"{deleted.busy_lanes} lanes are at work and left for tomorrow."
        )

    return scheduled_op(
        delete_expired,
        job="retention",
        description="Delete finished payloads that are older than INGESTION_RETENTION_DAYS.",
        schedule="retention_daily",
        cron_schedule="15 3 * * *",
        why_not=lambda: NOT_SET if load_settings().retention_days is None else None,
    )
