"""The entities flow in Dagster: assets and checks made from the YAML, its jobs and sensor."""

import dagster as dg

from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.entities.assets import asset_key, assets_of
from ingestion_assets.entities.checks import audit_of
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.flow import ENTITIES
from ingestion_assets.orchestration.flow_definitions import flow_definitions


def build(entities: EntitySet) -> dg.Definitions:
    """Everything for these entities."""
    audits = [audit_of(entity, entities, asset_key(entity)) for entity in entities.entities]
    return flow_definitions(ENTITIES, assets=assets_of(entities), audits=audits)


def current() -> dg.Definitions:
    """Everything for the entities that this process goes by."""
    return build(defined_entities())
