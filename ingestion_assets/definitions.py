"""The one Definitions object, merged from the flows, and what says when to make it again; nothing else."""

import dagster as dg

from ingestion_assets.conversations import definitions as conversations
from ingestion_assets.entities import definitions as entities
from ingestion_assets.entities.registry import current_version, defined_entities
from ingestion_assets.flows import FLOWS
from ingestion_assets.modules import definitions as modules
from ingestion_assets.orchestration import landing_assets
from ingestion_assets.orchestration.retention import retention_definitions
from ingestion_assets.orchestration.run_retention import run_retention_definitions
from ingestion_assets.orchestration.sensors import reconciliation_sensor

definitions = dg.Definitions.merge(
    conversations.definitions,
    entities.build(defined_entities()),
    modules.definitions,
    landing_assets.definitions,
    retention_definitions(FLOWS.values()),
    run_retention_definitions(),
    dg.Definitions(sensors=[reconciliation_sensor(list(FLOWS.values()))], executor=dg.in_process_executor),
)


definitions_version = current_version
"""Gives what changes when the definitions do: warm workers then load this module again."""
