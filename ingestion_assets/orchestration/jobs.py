"""The jobs: of a flow one that works on a claim and one that audits what is stored; else those of one op, by the clock."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.landing.flows import Flow
from ingestion_assets.orchestration.queues import job_tags

if TYPE_CHECKING:
    from ingestion_assets.orchestration.dagster_internals import UnresolvedAssetJobDefinition

MAX_RUNTIME_S = 3600


def flow_job(
    flow: Flow,
    *,
    audits: Sequence[dg.AssetChecksDefinition],
    not_in_job: Sequence[dg.AssetsDefinition] = (),
) -> "UnresolvedAssetJobDefinition":
    """The job that materializes the flow's asset group; wake, sensor, backfills and people run the same one.

    `audits` are the checks that read more than one claim, `not_in_job` the assets that do not come from payloads; both have
    jobs of their own.
    """
    assets = dg.AssetSelection.groups(flow.name) - dg.AssetSelection.checks(*audits)
    if not_in_job:
        assets -= dg.AssetSelection.assets(*not_in_job)
    return dg.define_asset_job(
        flow.name,
        selection=assets,
        executor_def=dg.in_process_executor,
        tags=job_tags(flow),
        description=f"Work on what has landed for {flow.name}; started by hand, rebuild a whole partition.",
    )


def audit(flow: Flow, *, audits: Sequence[dg.AssetChecksDefinition]) -> dg.Definitions:
    """An hourly job of the checks that read more than one claim."""
    job = dg.define_asset_job(
        f"{flow.name}_audit",
        selection=dg.AssetSelection.checks(*audits),
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
        description=f"Compare what is stored of {flow.name} with what was ever stored.",
    )
    schedule = dg.ScheduleDefinition(
        name=f"{flow.name}_audit_hourly",
        job=job,
        cron_schedule="30 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Audits {flow.name} every hour.",
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


def scheduled_op(
    op: Callable[[dg.OpExecutionContext], None],
    *,
    job: str,
    description: str,
    schedule: str,
    cron_schedule: str,
    why_not: Callable[[], str | None] = lambda: None,
) -> dg.Definitions:
    """A job that does `op`, by the clock unless `why_not` says which setting it lacks, and by hand."""

    @dg.job(
        name=job,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
        executor_def=dg.in_process_executor,
        description=description,
    )
    def one_op() -> None:
        dg.op(description=description)(op)()

    @dg.schedule(
        name=schedule,
        job=one_op,
        cron_schedule=cron_schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def by_the_clock() -> dg.RunRequest | dg.SkipReason:
        reason = why_not()
        return dg.RunRequest() if reason is None else dg.SkipReason(reason)

    return dg.Definitions(jobs=[one_op], schedules=[by_the_clock])
