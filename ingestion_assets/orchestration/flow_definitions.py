"""All that a flow has in Dagster, made from its assets and checks: its job, its sensor, its hourly audit."""

from collections.abc import Sequence

import dagster as dg

from ingestion_assets.landing.flows import Flow
from ingestion_assets.orchestration.jobs import audit, flow_job
from ingestion_assets.orchestration.red_partitions import no_red_partition
from ingestion_assets.orchestration.sensors import BeforeTick, flow_sensor
from ingestion_assets.orchestration.stages import Stage, claim_step


def flow_definitions(
    flow: Flow,
    *,
    assets: Sequence[Stage | dg.AssetsDefinition],
    audits: Sequence[dg.AssetChecksDefinition] = (),
    not_in_job: Sequence[dg.AssetsDefinition] = (),
    before_tick: BeforeTick | None = None,
) -> dg.Definitions:
    """The flow's definitions. The stages among the `assets` are one step, in this order. `audits` are checks that read more than
    one claim, `not_in_job` those of `assets` that do not come from payloads; the flow's job leaves both out. `before_tick` is done
    whenever its sensor ticks."""
    stages = [one for one in assets if isinstance(one, Stage)]
    audits = [*audits, no_red_partition(flow, [stage.spec.key for stage in stages])]
    others = [one for one in assets if not isinstance(one, Stage)]
    return dg.Definitions.merge(
        dg.Definitions(
            assets=[claim_step(flow, stages), *others],
            asset_checks=audits,
            jobs=[flow_job(flow, audits=audits, not_in_job=not_in_job)],
            sensors=[flow_sensor(flow, before=before_tick)],
        ),
        audit(flow, audits=audits),
    )
