"""The repositories flow in Dagster: its assets, checks, job and sensors."""

import dagster as dg

from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.repositories.assets import STAGES
from ingestion_assets.repositories.flow import REPOSITORIES

WATCH_S = 30


@dg.sensor(
    name="repositories_watched",
    minimum_interval_seconds=WATCH_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks watched repositories for their newest commit, some at a time; those that have one are submitted by a front door.",
)
def _watched(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    from ingestion_assets.repositories.looking import look_around  # noqa: PLC0415
    from ingestion_assets.repositories.settings import repositories_settings  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    settings = repositories_settings()
    most = max(1, settings.watch_per_minute * WATCH_S // 60)
    looked = look_around(postgres.engine(), load_settings(), settings, most=most)
    for repository, why in looked.failed.items():
        context.log.warning(f"{repository} could not be asked: {why}")
    return dg.SkipReason(
        f"{looked.asked} watched repositories asked, {looked.changed} have a new commit, {len(looked.failed)} did not answer."
    )


definitions = dg.Definitions.merge(
    flow_definitions(REPOSITORIES, assets=STAGES), dg.Definitions(sensors=[_watched])
)
