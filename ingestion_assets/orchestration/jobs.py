"""One job a flow: its assets in one process, at the end of one claim."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingestion_assets.landing.flows import Flow

MAX_RUNTIME_S = 3600


def flow_job(flow: Flow, *, partitions_def: dg.PartitionsDefinition) -> UnresolvedAssetJobDefinition:
    """The job that materializes the flow's asset group; wake, sensor, backfills and people run the same one."""
    return dg.define_asset_job(
        flow.job,
        selection=dg.AssetSelection.groups(flow.name),
        partitions_def=partitions_def,
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
        description=f"Work on what has landed for {flow.name}; started by hand, rebuild a whole partition.",
    )
