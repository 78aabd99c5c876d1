"""The repositories flow in Dagster: its assets, checks, job and sensor, and the sensor of watched repositories."""

from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.repositories.assets import STAGES
from ingestion_assets.repositories.flow import REPOSITORIES

definitions = flow_definitions(REPOSITORIES, assets=STAGES)
