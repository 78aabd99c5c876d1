"""The check of a flow that looks at all its partitions."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ingestion_assets.landing.flows import Flow

LISTED = 20


def no_red_partition(flow: Flow, assets: Sequence[dg.AssetKey]) -> dg.AssetChecksDefinition:
    """The flow's check that no check is red on any partition. Dagster shows of each check the newest word only, of whatever partition."""

    @dg.asset_check(
        asset=dg.AssetKey([flow.name, flow.assets[1]]),
        name="no_red_partition",
        description=f"No check of {flow.name} fails on any partition, however old. Runs every hour, and whenever you execute it.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from ingestion_assets.orchestration.check_states import newest_states  # noqa: PLC0415

        red = [
            one for one in newest_states(context.instance, assets=assets, failed_only=True) if one.partition
        ]
        shown = [
            dg.TableRecord({"partition": one.partition, "check": one.name, "severity": one.severity, "run": one.run_id})
            for one in red[:LISTED]
        ]  # fmt: skip
        metadata: dict[str, Any] = {"red": len(red)}
        if red:
            what = (
                "Each check's page says for its partition what is wrong. Mended, materialize the partition."
            )
            metadata |= {"what_to_do": what, "red_partitions": dg.MetadataValue.table(shown)}
        only_warnings = bool(red) and all(one.severity == "WARN" for one in red)
        severity = dg.AssetCheckSeverity.WARN if only_warnings else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(passed=not red, severity=severity, metadata=metadata)

    return check
