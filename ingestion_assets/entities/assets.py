"""The assets of the entities flow, made from the definitions: one an entity, edges along the references."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.entities import checks
from ingestion_assets.entities.column_types import column_type
from ingestion_assets.entities.definition import Entity, EntityField, EntitySet
from ingestion_assets.entities.flow import ENTITIES, NAME
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.reporting import claim_metadata, rejects_table

if TYPE_CHECKING:
    from ingestion_assets.entities.loading import Counts
    from ingestion_assets.entities.work import EntitiesWork
    from ingestion_assets.orchestration.claiming import Working

CODE_VERSION = "1"
OWNERS = ["team:ingestion"]
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def asset_key(entity: Entity) -> dg.AssetKey:
    """`OrderLineItem` is the asset `entities/order_line_item`."""
    return dg.AssetKey([NAME, _WORD.sub("_", entity.entity).lower()])


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


def assets_of(entities: EntitySet) -> list[dg.AssetsDefinition]:
    """`raw_batches`, one asset an entity, and `ingestion_log`."""
    raw, log = dg.AssetKey([NAME, "raw_batches"]), dg.AssetKey([NAME, "ingestion_log"])

    @contextmanager
    def stage(
        context: dg.AssetExecutionContext, *, last: bool = False
    ) -> "Iterator[tuple[Working, EntitiesWork]]":
        # Imported here, so that the code location loads about as fast as Dagster itself; workers import it beforehand.
        from ingestion_assets.entities.work import EntitiesWork  # noqa: PLC0415
        from ingestion_assets.orchestration.claiming import working  # noqa: PLC0415
        from ingestion_assets.orchestration.retries import is_transient  # noqa: PLC0415

        with working(context, ENTITIES, last=last) as run:
            if "work" not in run.memory:
                run.memory["work"] = EntitiesWork(
                    claim=run.claim,
                    storage=run.storage,
                    engine=run.engine,
                    entities=entities,
                    max_bytes=run.settings.claim_max_bytes,
                    is_transient=is_transient,
                )
            yield run, run.memory["work"]

    @dg.asset(
        key=raw, group_name=NAME, kinds={"csv"}, owners=OWNERS, code_version=CODE_VERSION, partitions_def=DAYS,
        description="Payloads of messages that landed on a day, as they were sent. A run works on its claim of them.",
    )  # fmt: skip
    def raw_batches(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with stage(context) as (run, _):
            return dg.MaterializeResult(
                metadata=claim_metadata(
                    run.claim, seconds_claiming=run.seconds_claiming, settings=run.settings
                )
            )

    def entity_asset(entity: Entity, earlier: set[str]) -> dg.AssetsDefinition:
        key = asset_key(entity)
        references = {reference.entity for reference in entity.references} & earlier

        @dg.asset(
            key=key, group_name=NAME, kinds={"postgres"}, owners=OWNERS, code_version=CODE_VERSION, partitions_def=DAYS,
            deps=[raw, *(asset_key(entities.by_name[name]) for name in sorted(references))],
            description=f"{entity.description} Messages that begin with `{entity.prefix}|`.".strip(),
            metadata={"dagster/column_schema": column_schema(entity), "dagster/table_name": f"entities.{entity.table}"},
            check_specs=checks.specs(entity, key),
        )  # fmt: skip
        def entity_rows(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            with stage(context) as (run, work):
                counts = _counts(work, entity)
                with run.engine.connect() as connection:
                    raw_connection = connection.connection.driver_connection
                    results = checks.check_entity(raw_connection, entity, counts)  # pyright: ignore[reportArgumentType]
                return dg.MaterializeResult(
                    metadata={
                        "dagster/row_count": counts.inserted,
                        **{name: getattr(counts, name) for name in counts.__struct_fields__},
                    },
                    check_results=results,
                )

        return entity_rows

    made: list[dg.AssetsDefinition] = []
    earlier: set[str] = set()
    for entity in entities.entities:
        made.append(entity_asset(entity, earlier))
        earlier.add(entity.entity)

    @dg.asset(
        key=log, deps=[asset_key(entity) for entity in entities.entities], group_name=NAME, kinds={"postgres"},
        owners=OWNERS, code_version=CODE_VERSION, partitions_def=DAYS, check_specs=[checks.log_spec(log)],
        description="The receipts of a run's payloads: the claim ends here, and clients get their answers.",
    )  # fmt: skip
    def ingestion_log(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with stage(context, last=True) as (run, work):
            outcomes = work.outcomes()
            run.finish(outcomes)
            return dg.MaterializeResult(
                metadata={
                    "payloads": len(outcomes),
                    "failed": sum(outcome.failed for outcome in outcomes),
                    **rejects_table(outcomes),
                },
                check_results=[checks.check_log(outcomes)],
            )

    return [raw_batches, *made, ingestion_log]


def _counts(work: "EntitiesWork", entity: Entity) -> "Counts":
    from ingestion_assets.entities.loading import Counts  # noqa: PLC0415

    sums = Counts()
    for loaded in work.loaded():
        counts = loaded.entities.get(entity.entity)
        if counts is not None:
            for name in Counts.__struct_fields__:
                setattr(sums, name, getattr(sums, name) + getattr(counts, name))
    return sums
