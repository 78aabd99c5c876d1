"""The conversations flow in Dagster."""

from ingestion_assets.conversations.assets import ASSETS
from ingestion_assets.conversations.checks import stored_once
from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.orchestration.flow_definitions import flow_definitions

definitions = flow_definitions(CONVERSATIONS, assets=ASSETS, audits=[stored_once])
