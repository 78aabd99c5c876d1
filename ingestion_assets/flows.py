"""The flows there are, as the spine sees them. Imports neither dagster nor fastapi."""

from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.entities.flow import ENTITIES
from ingestion_assets.landing.flows import Flow
from ingestion_assets.modules.flow import MODULES

FLOWS: dict[str, Flow] = {flow.name: flow for flow in (CONVERSATIONS, ENTITIES, MODULES)}
