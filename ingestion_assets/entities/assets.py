"""The assets of the entities flow, made from the definitions: one an entity, edges along the references."""

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.entities import checks
from ingestion_assets.entities.column_types import column_type
from ingestion_assets.entities.definition import Entity, EntityField
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.flow import ENTITIES, NAME
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.stages import Stage, Stages

if TYPE_CHECKING:
    from ingestion_assets.entities.loaded import Counts
    from ingestion_assets.entities.work import EntitiesWork
    from ingestion_assets.orchestration.claiming import Working


def asset_key(entity: Entity) -> dg.AssetKey:
    """`OrderLineItem` is the asset `entities/order_line_item`."""
    return dg.AssetKey([NAME, entity.asset_name])


def column_schema(entity: Entity) -> dg.TableSchema:
    """The entity's columns as the Dagster UI shows them."""
    return dg.TableSchema([_column(entity, field) for field in entity.fields])


def _column(entity: Entity, field: EntityField) -> dg.TableColumn:
    others = [f"one of {', '.join(field.values)}"] if field.values else []
    others += [
        f"references {reference.entity}" for reference in entity.references if field.name in reference.fields
    ]
    return dg.TableColumn(
        field.name,
        column_type(field),
        description=field.description,
        constraints=dg.TableColumnConstraints(
            nullable=field.nullable, unique=entity.primary_key == (field.name,), other=others
        ),
    )


def assets_of(entities: EntitySet) -> list[Stage]:
    """`raw_batches`, one asset an entity, and `ingestion_log`."""

    def start(run: "Working") -> "EntitiesWork":
        from ingestion_assets.entities.active_definitions import current_entities  # noqa: PLC0415
        from ingestion_assets.entities.work import EntitiesWork  # noqa: PLC0415
        from ingestion_assets.orchestration.retries import is_transient  # noqa: PLC0415

        return EntitiesWork(
            claim=run.claim,
            storage=run.storage,
            engine=run.engine,
            entities=current_entities,
            max_bytes=run.settings.claim_max_bytes,
            is_transient=is_transient,
        )

    stages = Stages(flow=ENTITIES, partitions_def=DAYS, start=start)
    raw_batches = stages.raw_batches(
        "Payloads of messages that landed on a day, as they were sent. A run works on its claim of them.",
        kinds={"csv"},
    )
    made: list[Stage] = []
    earlier: dict[str, str] = {}
    for entity in entities.entities:
        references = sorted({reference.entity for reference in entity.references} & earlier.keys())
        made.append(_entity_asset(stages, entity, deps=[earlier[name] for name in references]))
        earlier[entity.entity] = entity.asset_name
    ingestion_log = stages.ingestion_log(
        "The receipts of a run's payloads: the claim ends here, and clients get their answers.",
        deps=list(earlier.values()),
        kinds={"postgres"},
        accounts=lambda outcome: outcome.result.get("processed") == len(outcome.records),
    )
    return [raw_batches, *made, ingestion_log]


def _entity_asset(stages: "Stages[EntitiesWork]", entity: Entity, *, deps: list[str]) -> Stage:
    @stages.asset(
        name=entity.asset_name,
        description=f"{entity.description} Messages that begin with `{entity.prefix}|`.".strip(),
        deps=["raw_batches", *deps],
        kinds={"postgres"},
        columns=column_schema(entity),
        metadata={"dagster/table_name": f"entities.{entity.table}", "definition": entity.version},
        check_specs=checks.specs(entity, asset_key(entity)),
    )
    def entity_rows(work: "EntitiesWork") -> dg.MaterializeResult:
        counts = _counts(work, entity)
        with work.engine.connect() as connection:
            raw_connection = connection.connection.driver_connection
            results = checks.check_entity(raw_connection, entity, counts)  # pyright: ignore[reportArgumentType]
        return dg.MaterializeResult(
            metadata={
                **{name: getattr(counts, name) for name in counts.__struct_fields__},
            },
            check_results=results,
        )

    return entity_rows


def _counts(work: "EntitiesWork", entity: Entity) -> "Counts":
    from ingestion_assets.entities.loaded import sum_of  # noqa: PLC0415

    name = entity.entity
    return sum_of(one.entities[name] for one in work.loaded() if name in one.entities)
