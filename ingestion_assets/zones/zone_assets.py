"""A zone in Dagster: its three assets, checks, job, sensor and audit, in the user's own code location."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.landing.flows import Keys
from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.orchestration.partition_checks import by_payloads, rate_of, reject_rate
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.stages import Stages
from ingestion_assets.zones.document import FIRST_ASSET
from ingestion_assets.zones.zone import Zone
from ingestion_assets.zones.zone_flow import flow_of

if TYPE_CHECKING:
    from ingestion_assets.landing.drop_outcomes import DropOutcome
    from ingestion_assets.orchestration.claiming import Working
    from ingestion_assets.zones.work import ZoneWork

COUNTS = ("stored", "duplicate", "superseded", "rejected")
OWNER = "team:ingestion"
made: dict[str, Zone] = {}
"""By name the zones whose definitions this process made, for `ingestion zones check`."""


def zone_definitions(zone: Zone) -> dg.Definitions:
    """All that a zone has in Dagster."""
    made[zone.name] = zone
    flow = flow_of(zone.document())
    partitions_def = (
        dg.DynamicPartitionsDefinition(name=flow.partitions.name)
        if isinstance(flow.partitions, Keys)
        else DAYS
    )
    key = dg.AssetKey([zone.name, zone.asset])
    stages = Stages(
        flow=flow,
        partitions_def=partitions_def,
        start=lambda run: _start(zone, run),
        owners=[*zone.owners] or [OWNER],
        also=zone.document().encoded().decode(),
    )
    checks = [
        by_payloads(
            "accounting", asset=key, description="received = stored + duplicate + superseded + rejected."
        ),
        reject_rate(asset=key, most=zone.reject_rate, received=["received"], rejected=["rejected"]),
    ]

    def write(work: "ZoneWork") -> dg.MaterializeResult:
        worked = work.stored()
        totals = totals_of(worked.results)
        return dg.MaterializeResult(
            metadata={**totals, "payloads_failed": len(worked.failed)},
            check_results=[
                dg.AssetCheckResult(
                    check_name="accounting", passed=totals["received"] == sum(totals[name] for name in COUNTS), metadata=totals
                ),
                rate_of(
                    received=totals["received"], rejected=totals["rejected"], payloads_failed=len(worked.failed), most=zone.reject_rate
                ),
            ],
        )  # fmt: skip

    stored = stages.asset(
        name=zone.asset,
        deps=[FIRST_ASSET],
        kinds={zone.kind},
        description=zone.description or f"The records of {zone.name}, each once.",
        columns=dg.TableSchema(
            [
                dg.TableColumn(
                    column.name, column.kind, constraints=dg.TableColumnConstraints(nullable=column.nullable)
                )
                for column in zone.records.columns
            ]
        ),
        metadata=zone.metadata,
        check_specs=checks,
    )(write)
    from ingestion_assets.zones.publishing import publisher  # noqa: PLC0415 - it needs `zone`, which tests make without a ledger

    return flow_definitions(
        flow,
        assets=[
            stages.raw_batches(f"Payloads of {zone.name}, as they were sent.", kinds={"json"}),
            stored,
            stages.ingestion_log(
                f"The receipts of the payloads of {zone.name}.",
                kinds={"postgres"},
                deps=[zone.asset],
                accounting="Every record of a payload has an outcome.",
                accounts=lambda outcome: (
                    sum(outcome.result[name] for name in COUNTS) == outcome.result["received"]
                ),
            ),
        ],
        audits=[freshness(zone)] if zone.fresh_within_s is not None else [],
        before_tick=publisher(zone),
    )


def totals_of(outcomes: "list[DropOutcome]") -> Mapping[str, int]:
    """The counts of these payloads together."""
    return {name: sum(int(one.result.get(name, 0)) for one in outcomes) for name in ("received", *COUNTS)}


def freshness(zone: Zone) -> dg.AssetChecksDefinition:
    """The check that the zone's newest payload is not older than is allowed."""
    within_s = zone.fresh_within_s or 0.0

    @dg.asset_check(
        asset=dg.AssetKey([zone.name, zone.asset]),
        name="fresh",
        description=f"The newest payload of {zone.name} came within the last {within_s:.0f} s.",
    )
    def check() -> dg.AssetCheckResult:
        from ingestion_assets.landing.freshness import newest_ages_s  # noqa: PLC0415
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        with postgres.engine().connect() as connection:
            age_s = newest_ages_s(connection, [zone.name]).get(zone.name)
        metadata: dict[str, Any] = {"within_s": within_s} | (
            {} if age_s is None else {"age_s": round(age_s, 1)}
        )
        return dg.AssetCheckResult(
            passed=age_s is not None and age_s <= within_s,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata,
        )

    return check


def _start(zone: Zone, run: "Working") -> "ZoneWork":
    from ingestion_assets.landing.drops import NotYetError  # noqa: PLC0415
    from ingestion_assets.orchestration.retries import is_transient  # noqa: PLC0415
    from ingestion_assets.zones.document import ZoneError  # noqa: PLC0415
    from ingestion_assets.zones.key_changes import check_key  # noqa: PLC0415
    from ingestion_assets.zones.tables.target import TableRefusedError  # noqa: PLC0415
    from ingestion_assets.zones.work import ZoneWork  # noqa: PLC0415

    table = None if zone.table is None else zone.table(run.engine, zone.shape())
    try:
        if table is None:
            check_key(run.engine, zone.name, zone.key)
        else:
            table.prepare()
    except (TableRefusedError, ZoneError) as error:
        raise NotYetError(f"the zone {zone.name} is not in force as it is written: {error}") from error
    return ZoneWork(
        zone=zone.name, claim=run.claim, storage=run.storage, engine=run.engine, records=zone.records,
        max_bytes=run.settings.claim_max_bytes, is_transient=is_transient, path=zone.path, key=zone.key,
        table=table, function=zone.function, join=run.join_landed,
    )  # fmt: skip
