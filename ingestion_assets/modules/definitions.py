"""The modules flow in Dagster: its assets, checks, jobs, sensor, and the schedule of the release feed."""

import dagster as dg

from ingestion_assets.modules.assets import ASSETS, drupal_releases
from ingestion_assets.modules.checks import all_sites_agree
from ingestion_assets.modules.flow import MODULES
from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.orchestration.jobs import MAX_RUNTIME_S

_releases_job = dg.define_asset_job(
    "drupal_releases",
    selection=dg.AssetSelection.assets(drupal_releases),
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
    description="Ask drupal.org's feed for the releases that are due, and judge what is installed.",
)
_releases_schedule = dg.ScheduleDefinition(
    name="drupal_releases_every_quarter",
    job=_releases_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Asks for projects that are due: new ones at once, others every six hours.",
)
definitions = dg.Definitions.merge(
    flow_definitions(MODULES, assets=ASSETS, audits=[all_sites_agree], not_in_job=[drupal_releases]),
    dg.Definitions(jobs=[_releases_job], schedules=[_releases_schedule]),
)
