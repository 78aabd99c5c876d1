"""Syncs that come by themselves: a sensor asks for a run for each connection that is due; the run's page says what it did.

A due sync is asked for anew every few minutes until a run has taken it, so a lost run costs minutes; taken twice it is done once.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.documents.flow import DOCUMENTS
from ingestion_assets.orchestration.jobs import MAX_RUNTIME_S
from ingestion_assets.orchestration.queues import QUEUE_TAG

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ingestion_assets.documents.source_connections import Connection
    from ingestion_assets.documents.source_sync import Synced
    from ingestion_assets.documents.sources.source import Entry
    from ingestion_assets.landing.storage import LandingStorage
    from ingestion_assets.settings import Settings

JOB, SENSOR = "documents_sync", "documents_syncs_due"
INTERVAL_S = 5
ASKED_EVERY_S = 300
RUNS_A_TICK = 20
PRINCIPAL = "sync"
_DUE = """
    SELECT id, extract(epoch FROM sync_at)::float8 AS due FROM documents.connections WHERE sync_at <= clock_timestamp()
    ORDER BY sync_at LIMIT :most
"""
_TAKE = """
    UPDATE documents.connections SET sync_at = clock_timestamp() + make_interval(secs => sync_every_s)
    WHERE id = :id AND sync_at <= clock_timestamp() RETURNING id
"""


@dg.op(
    config_schema={"connection_id": str},
    description="Compare the connection's source with what was seen of it; new and changed files become a job.",
)
def sync_connection(context: dg.OpExecutionContext) -> None:
    from ingestion_assets.documents.file_errors import FileError  # noqa: PLC0415
    from ingestion_assets.documents.source_sync import SyncGoesOnError  # noqa: PLC0415
    from ingestion_assets.embedding.errors import EmbeddingError  # noqa: PLC0415
    from ingestion_assets.landing.storage import open_storage  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    settings = load_settings()
    id_ = context.op_config["connection_id"]
    try:
        done = sync_due(postgres.engine(), settings, open_storage(settings), id_)
    except SyncGoesOnError:
        context.log.info("The connection is being synced by somebody else.")
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
    name=JOB,
    tags={QUEUE_TAG: DOCUMENTS.runs.queue, "dagster/max_runtime": str(MAX_RUNTIME_S)},
    executor_def=dg.in_process_executor,
    description="Sync one connection of documents, if it is due.",
)
def documents_sync() -> None:
    sync_connection()


@dg.sensor(
    name=SENSOR,
    job=documents_sync,
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Syncs connections of documents that have a schedule.",
)
def syncs_due() -> dg.SensorResult | dg.SkipReason:
    import sqlalchemy as sa  # noqa: PLC0415

    from ingestion_assets.stores import postgres  # noqa: PLC0415

    with postgres.engine().connect() as connection:
        due = connection.execute(sa.text(_DUE), {"most": RUNS_A_TICK}).all()
    if not due:
        return dg.SkipReason("No connection is due.")
    now = int(time.time() // ASKED_EVERY_S)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{one.id} {one.due} {now}",
                run_config={"ops": {"sync_connection": {"config": {"connection_id": one.id}}}},
                tags={"connection": one.id},
            )
            for one in due
        ]
    )


def sync_due(
    engine: "sa.Engine", settings: "Settings", storage: "LandingStorage", id_: str
) -> "Synced | None":
    """Sync a connection if it is due, and start the jobs that it needs.

    Raises `FileError` when the source cannot be had, `SyncGoesOnError`, `EmbeddingError` when the jobs' model cannot.
    """
    import sqlalchemy as sa  # noqa: PLC0415

    from ingestion_assets.documents import source_connections, source_sync  # noqa: PLC0415

    with engine.begin() as connection:
        if connection.scalar(sa.text(_TAKE), {"id": id_}) is None:
            return None
        one = source_connections.get(connection, id_)
    assert one is not None  # noqa: S101 - it was just seen

    def make_jobs(entries: "Sequence[Entry]") -> list[str]:
        return [_started(engine, settings, storage, one, part) for part in source_sync.parts(entries)]

    return source_sync.sync(engine, settings, one, make_jobs)


def _started(
    engine: "sa.Engine",
    settings: "Settings",
    storage: "LandingStorage",
    one: "Connection",
    entries: "Sequence[Entry]",
) -> str:
    """A job over these files, durable and started; gives its id."""
    from ingestion_assets.documents import batch_jobs, new_jobs, source_sync  # noqa: PLC0415
    from ingestion_assets.documents.flow import job_drop  # noqa: PLC0415
    from ingestion_assets.embedding.models import probe  # noqa: PLC0415
    from ingestion_assets.landing.clock import LedgerClock  # noqa: PLC0415
    from ingestion_assets.landing.flows import day_of_arrival  # noqa: PLC0415
    from ingestion_assets.landing.inbox import land  # noqa: PLC0415
    from ingestion_assets.landing.segments import pack  # noqa: PLC0415

    request = source_sync.job_request(one, settings)
    model = probe(request.processing_options.embedding_model_preference, settings)
    files = [new_jobs.frozen(one, entry) for entry in entries]
    payload = new_jobs.payload_of(request, settings, model_id=model.id, files=files, origin="sync")
    clock = LedgerClock(engine)
    clock.sample()
    drop_id, now = clock.new_id(), clock.now()
    drop = job_drop(
        payload, partition=day_of_arrival(now), principal=PRINCIPAL, attributes={"via": "sync"}, key=payload.job_id
    )  # fmt: skip
    with engine.begin() as connection:
        new_jobs.insert(connection, request, payload, principal=PRINCIPAL)
    land(engine, storage, [pack(drop, drop_id=drop_id, received_at=now)], clock)
    with engine.begin() as connection:
        batch_jobs.landed(connection, payload.job_id, drop_id)
        batch_jobs.control(connection, payload.job_id, "start")
    return payload.job_id


definitions = dg.Definitions(jobs=[documents_sync], sensors=[syncs_due])
