"""The flow in Dagster."""

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.stages import Stages, claim_step
from ingestion_assets_tests.long_flow.flow import FLOW

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working
    from ingestion_assets_tests.long_flow.work import LongTestsWork


def _start(run: "Working") -> "LongTestsWork":
    from ingestion_assets_tests.long_flow.work import LongTestsWork  # noqa: PLC0415

    return LongTestsWork(run)


_stages = Stages(flow=FLOW, partitions_def=DAYS, start=_start)
_raw_batches = _stages.raw_batches("Payloads of many steps.", kinds=set())


@_stages.asset(deps=["raw_batches"], kinds=set())
def steps(work: "LongTestsWork") -> dg.MaterializeResult:
    """Every step once."""
    return dg.MaterializeResult(metadata={"payloads": len(work.outcomes())})


_ingestion_log = _stages.ingestion_log(
    "The receipts.", deps=["steps"], kinds=set(), accounts=lambda outcome: not outcome.failed
)
definitions = flow_definitions(FLOW, assets=[claim_step(FLOW, [_raw_batches, steps, _ingestion_log])])
