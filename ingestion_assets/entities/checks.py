"""Asset checks of the entities flow: made with the rows by the step that writes them, and an hourly look at whole tables."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.orchestration.partition_checks import by_payloads, rate_of, reject_rate

if TYPE_CHECKING:
    import psycopg

    from ingestion_assets.entities.loaded import Counts

REJECT_RATE = 0.05


def specs(entity: Entity, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks that an entity's step makes."""
    made = [
        by_payloads(
            "accounting", asset=key, blocking=True,
            description="processed + resolved = inserted + updated + unchanged + superseded + failed + waiting.",
        ),
        dg.AssetCheckSpec(
            "primary_key", asset=key, blocking=True,
            description=f"({', '.join(entity.primary_key)}) is the primary key of the table.",
        ),
        reject_rate(
            asset=key, most=REJECT_RATE, received=["by_entity", entity.entity, "processed"],
            rejected=["by_entity", entity.entity, "failed"],
        ),
    ]  # fmt: skip
    if entity.references:
        made.append(
            dg.AssetCheckSpec(
                "references",
                asset=key,
                blocking=True,
                description="Every reference is a foreign key of the table.",
            )
        )
    return made


def check_entity(
    connection: "psycopg.Connection[Any]", entity: Entity, counts: "Counts"
) -> list[dg.AssetCheckResult]:
    """The checks on one entity, for what a run did to it."""
    from ingestion_assets.entities.entity_tables import foreign_key_name, inspect  # noqa: PLC0415

    stored = counts.inserted + counts.updated + counts.unchanged
    ended = stored + counts.superseded + counts.failed + counts.waiting
    standing = inspect(connection, entity.table)
    results = [
        dg.AssetCheckResult(
            check_name="accounting",
            passed=counts.processed + counts.resolved == ended,
            metadata={name: getattr(counts, name) for name in counts.__struct_fields__},
        ),
        dg.AssetCheckResult(
            check_name="primary_key",
            passed=standing is None or standing.primary_key == entity.primary_key,
            metadata={"found": ", ".join(standing.primary_key) if standing else "no table yet"},
        ),
        rate_of(received=counts.processed, rejected=counts.failed, most=REJECT_RATE),
    ]  # fmt: skip
    if entity.references:
        wanted = {foreign_key_name(entity, reference) for reference in entity.references}
        absent = sorted(wanted - standing.foreign_keys) if standing else []
        results.append(
            dg.AssetCheckResult(
                check_name="references", passed=not absent, metadata={"absent": dg.MetadataValue.json(absent)}
            )
        )
    return results


def audit_of(entity: Entity, entities: EntitySet, key: dg.AssetKey) -> dg.AssetChecksDefinition:
    """A look at all rows of an entity: no key twice, no reference into nothing."""

    @dg.asset_check(
        asset=key,
        name="stored_rows",
        description="No primary key is there twice and no row references what is not there. Run by the hour and by hand.",
    )
    def stored_rows(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from ingestion_assets.entities.row_audit import audit  # noqa: PLC0415
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        with postgres.engine().connect() as connection:
            raw: Any = connection.connection.driver_connection
            found = audit(raw, entity, entities)
        # What a run inserted is no count of the table; this is.
        context.op_execution_context.log_event(
            dg.AssetObservation(key, metadata={"dagster/row_count": found.rows})
        )
        return dg.AssetCheckResult(
            passed=found.rows == found.keys and not any(found.orphans.values()),
            metadata={
                "rows": found.rows,
                "keys": found.keys,
                "orphans": dg.MetadataValue.json(dict(found.orphans)),
            },
        )

    return stored_rows
