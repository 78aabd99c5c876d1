"""The job that keeps the number of dynamic partitions bounded, every night. Payloads go by `retention.py`."""

from collections.abc import Collection

import dagster as dg

from ingestion_assets.landing.flows import Flow, Keys
from ingestion_assets.orchestration.jobs import scheduled_op
from ingestion_assets.orchestration.sensors import Others

IDLE_S = 86_400.0
"""What was in use within a day is never archived: front doors take it for there for an hour."""
_AT_WORK = frozenset({"REQUESTED", "CANCELING", "FAILING"})
"""What backfills that are not over are called."""
_UNFINISHED = [
    status for status in dg.DagsterRunStatus if status.value not in ("SUCCESS", "FAILURE", "CANCELED")
]


def archive_idle_keys(instance: dg.DagsterInstance, flow: Flow) -> str | None:
    """Take the keys beyond the flow's bound off Dagster's list, those idle the longest first; says what was done.

    What Dagster knows of an archived key stays, and shows again once its next payload has brought it back. Keys that an
    unfinished payload or run carries stay, and all of them do while a backfill is at work.
    """
    from ingestion_assets.landing.idle_keys import idle_keys  # noqa: PLC0415
    from ingestion_assets.landing.partition_keys import partition_of  # noqa: PLC0415
    from ingestion_assets.orchestration.dagster_internals import (  # noqa: PLC0415 - heavy
        BulkActionsFilter,
        BulkActionStatus,
    )
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    if not isinstance(flow.partitions, Keys):
        return None
    name, at_most = flow.partitions.name, flow.partitions.at_most
    keys = instance.get_dynamic_partitions(name)
    if len(keys) <= at_most:
        return None
    at_work = BulkActionsFilter(statuses=[status for status in BulkActionStatus if status.value in _AT_WORK])
    if instance.get_backfills(filters=at_work, limit=1):
        return (
            f"{name} has {len(keys)} keys (bound: {at_most}); none is archived while a backfill is at work."
        )
    # Of whatever job: who materializes an asset by hand runs another than the flow's.
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    carried = {run.tags.get("dagster/partition") for run in runs}
    named = {partition_of(flow, key): key for key in keys if key not in carried}
    with postgres.engine().connect() as connection:
        idle = idle_keys(
            connection, flow.name, list(named), idle_s=IDLE_S, at_most=len(keys) - at_most
        )  # fmt: skip
    for partition in idle:
        instance.delete_dynamic_partition(name, named[partition])
    return (
        f"{name} had {len(keys)} keys (bound: {at_most}); {len(idle)} were archived, the others are in use."
    )


def key_retention_definitions(flows: Collection[Flow], *, others: Others) -> dg.Definitions:
    """The job and its schedule. `others` are the flows that come and go."""

    def archive_keys(context: dg.OpExecutionContext) -> None:
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        with postgres.engine().connect() as connection:
            known = [*flows, *others(connection).values()]
        for flow in known:
            if (said := archive_idle_keys(context.instance, flow)) is not None:
                context.log.warning(said)

    return scheduled_op(
        archive_keys,
        job="key_retention",
        description="Archive keys of dynamic partitions beyond their flow's bound, those idle the longest first.",
        schedule="key_retention_daily",
        cron_schedule="45 3 * * *",
    )
