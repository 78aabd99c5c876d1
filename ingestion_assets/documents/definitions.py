"""The documents flow in Dagster: its assets, checks, job and sensor, and the job and sensor of syncs that come by themselves.

A sync that is due is asked for anew every few minutes until a run has taken it, so a lost run costs minutes; asked for twice it is done once.
"""

import time

import dagster as dg

from ingestion_assets.documents.assets import STAGES
from ingestion_assets.documents.checks import documents_agree
from ingestion_assets.documents.flow import DOCUMENTS
from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.orchestration.jobs import MAX_RUNTIME_S
from ingestion_assets.orchestration.queues import QUEUE_TAG
from ingestion_assets.orchestration.sensors import INTERVAL_S

ASKED_EVERY_S = 300
RUNS_A_TICK = 20


@dg.op(
    config_schema={"connection_id": str},
    description="Compare the connection's source with what was seen of it; new and changed files become a job.",
)
def sync_connection(context: dg.OpExecutionContext) -> None:
    from ingestion_assets.documents.due_syncs import sync_due  # noqa: PLC0415
    from ingestion_assets.documents.file_errors import FileError  # noqa: PLC0415
    from ingestion_assets.documents.source_sync import SyncGoesOnError, SyncOvertakenError  # noqa: PLC0415
    from ingestion_assets.embedding.errors import EmbeddingError  # noqa: PLC0415
    from ingestion_assets.landing.storage import open_storage  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    settings, id_ = load_settings(), context.op_config["connection_id"]
    try:
        done = sync_due(postgres.engine(), settings, open_storage(settings), id_)
    except SyncGoesOnError:
        context.log.info("Another process syncs the connection now.")
        return
    except SyncOvertakenError as error:
        context.log.info(str(error))
        return
    except (FileError, EmbeddingError) as error:
        raise dg.Failure(f"The connection {id_} was not synced: {error}", allow_retries=False) from error
    if done is None:
        context.log.info("The connection is not due any more.")
        return
    context.add_output_metadata(
        {"connection": id_, **done.counts, "jobs": ", ".join(done.job_ids), "held": done.held or ""}
    )


@dg.job(
    tags={QUEUE_TAG: DOCUMENTS.runs.queue, "dagster/max_runtime": str(MAX_RUNTIME_S)},
    executor_def=dg.in_process_executor,
    description="Sync one connection of documents, if it is due.",
)
def documents_sync() -> None:
    sync_connection()


@dg.sensor(
    job=documents_sync,
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Syncs connections of documents that have a schedule.",
)
def documents_syncs_due() -> dg.SensorResult | dg.SkipReason:
    from ingestion_assets.documents.due_syncs import due  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    with postgres.engine().connect() as connection:
        found = due(connection, most=RUNS_A_TICK)
    if not found:
        return dg.SkipReason("No connection is due.")
    turn = int(time.time() // ASKED_EVERY_S)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{id_} {since} {turn}",
                run_config={"ops": {"sync_connection": {"config": {"connection_id": id_}}}},
                tags={"connection": id_},
            )
            for id_, since in found
        ]
    )


definitions = dg.Definitions.merge(
    flow_definitions(DOCUMENTS, assets=STAGES, audits=[documents_agree]),
    dg.Definitions(jobs=[documents_sync], sensors=[documents_syncs_due]),
)
