"""The conversations flow in Dagster: its assets, checks, jobs and sensor."""

import dagster as dg

from ingestion_assets.conversations.assets import ASSETS
from ingestion_assets.conversations.checks import stored_once
from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.orchestration.jobs import audit, flow_job
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.sensors import flow_sensor

definitions = dg.Definitions.merge(
    dg.Definitions(
        assets=ASSETS,
        asset_checks=[stored_once],
        jobs=[flow_job(CONVERSATIONS, partitions_def=DAYS, audits=[stored_once])],
        sensors=[flow_sensor(CONVERSATIONS)],
    ),
    audit(CONVERSATIONS, audits=[stored_once]),
)
