"""The one Definitions object, merged from the flows; nothing else."""

import dagster as dg

from ingestion_assets.conversations import definitions as conversations
from ingestion_assets.entities import definitions as entities
from ingestion_assets.flows import FLOWS
from ingestion_assets.modules import definitions as modules
from ingestion_assets.orchestration import landing_assets
from ingestion_assets.orchestration.sensors import reconciliation_sensor

definitions = dg.Definitions.merge(
    conversations.definitions,
    entities.definitions,
    modules.definitions,
    landing_assets.definitions,
    dg.Definitions(sensors=[reconciliation_sensor(list(FLOWS.values()))], executor=dg.in_process_executor),
)
