"""The conversations flow in Dagster: its assets, job and sensor."""

import dagster as dg

from ingestion_assets.conversations.assets import ASSETS
from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.orchestration.jobs import flow_job
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.sensors import flow_sensor

definitions = dg.Definitions(
    assets=ASSETS, jobs=[flow_job(CONVERSATIONS, partitions_def=DAYS)], sensors=[flow_sensor(CONVERSATIONS)]
)
