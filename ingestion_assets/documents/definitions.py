"""The documents flow in Dagster: its assets, checks, job and sensor, and the syncs that come by themselves."""

import dagster as dg

from ingestion_assets.documents import scheduled_syncs
from ingestion_assets.documents.assets import STAGES
from ingestion_assets.documents.checks import documents_agree
from ingestion_assets.documents.flow import DOCUMENTS
from ingestion_assets.orchestration.flow_definitions import flow_definitions

definitions = dg.Definitions.merge(
    flow_definitions(DOCUMENTS, assets=STAGES, audits=[documents_agree]), scheduled_syncs.definitions
)
