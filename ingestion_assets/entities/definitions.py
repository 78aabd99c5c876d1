"""The entities flow in Dagster: assets and checks made from the YAML, its jobs and sensor."""

import dagster as dg

from ingestion_assets.entities.assets import asset_key, assets_of
from ingestion_assets.entities.checks import audit_of
from ingestion_assets.entities.definition import EntitySet
from ingestion_assets.entities.flow import ENTITIES
from ingestion_assets.entities.registry import defined_entities
from ingestion_assets.orchestration.jobs import audit, flow_job
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.sensors import flow_sensor


def build(entities: EntitySet) -> dg.Definitions:
    """Everything for these entities."""
    audits = [audit_of(entity, entities, asset_key(entity)) for entity in entities.entities]
    return dg.Definitions.merge(
        dg.Definitions(
            assets=assets_of(entities),
            asset_checks=audits,
            jobs=[flow_job(ENTITIES, partitions_def=DAYS, audits=audits)],
            sensors=[flow_sensor(ENTITIES)],
        ),
        audit(ENTITIES, audits=audits),
    )


definitions = build(defined_entities())
