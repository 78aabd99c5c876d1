"""The modules flow in Dagster: its assets, checks, jobs, sensor, and the schedule of the release feed."""

import dagster as dg

from ingestion_assets.modules.assets import ASSETS, SITE_PARTITIONS, drupal_releases
from ingestion_assets.modules.checks import all_sites_agree
from ingestion_assets.modules.flow import MODULES
from ingestion_assets.orchestration.jobs import MAX_RUNTIME_S, audit, flow_job
from ingestion_assets.orchestration.sensors import flow_sensor

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
    dg.Definitions(
        assets=ASSETS,
        asset_checks=[all_sites_agree],
        jobs=[
            flow_job(
                MODULES, partitions_def=SITE_PARTITIONS, audits=[all_sites_agree], apart=[drupal_releases]
            ),
            _releases_job,
        ],
        schedules=[_releases_schedule],
        sensors=[flow_sensor(MODULES)],
    ),
    audit(MODULES, audits=[all_sites_agree]),
)
