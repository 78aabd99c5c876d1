"""Syncs that come by themselves: which connections are due, and the work on one of them, outside of any front door."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from ingestion_assets.documents import batch_jobs, new_jobs, source_connections, source_sync
from ingestion_assets.documents.flow import job_drop
from ingestion_assets.documents.frozen_files import frozen
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.source_sync import Synced
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.embedding.models import probe
from ingestion_assets.landing.clock import LedgerClock
from ingestion_assets.landing.flows import day_of_arrival
from ingestion_assets.landing.inbox import land
from ingestion_assets.landing.segments import pack
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.settings import Settings

PRINCIPAL = "sync"
_DUE = sa.text("""
    SELECT id, extract(epoch FROM sync_at)::text AS since FROM documents.connections WHERE sync_at <= clock_timestamp()
    ORDER BY sync_at LIMIT :most
""")
# A run that is lost, or fails, has it asked for again in ten minutes; one that is through says itself when it is due next.
_TAKE = sa.text("""
    UPDATE documents.connections SET sync_at = clock_timestamp() + make_interval(secs => least(sync_every_s, 600))
    WHERE id = :id AND sync_at <= clock_timestamp() RETURNING id
""")


def due(connection: sa.Connection, *, most: int) -> Sequence[tuple[str, str]]:
    """Connections that are due, and since when, longest first."""
    return [(row.id, row.since) for row in connection.execute(_DUE, {"most": most})]


def sync_due(engine: sa.Engine, settings: Settings, storage: LandingStorage, id_: str) -> Synced | None:
    """Sync a connection, if it is due, and start the jobs that it needs.

    Raises `FileError` when the source cannot be had, `SyncGoesOnError`, `SyncOvertakenError`, `EmbeddingError` when the jobs' model cannot.
    """
    with engine.begin() as connection:
        taken = connection.scalar(_TAKE, {"id": id_})
        one = None if taken is None else source_connections.get(connection, id_)
    if one is None:
        return None

    def make_jobs(now: Connection, entries: Sequence[Entry]) -> list[str]:
        return [_started(engine, settings, storage, now, part) for part in source_sync.parts(entries)]

    return source_sync.sync(engine, settings, one, make_jobs)


def _started(
    engine: sa.Engine, settings: Settings, storage: LandingStorage, one: Connection, entries: Sequence[Entry]
) -> str:
    """A job over these files, durable, and started with its landing: whatever is killed here leaves none that waits for ever. Gives its id."""
    request = source_sync.job_request(one, settings)
    model = probe(request.processing_options.embedding_model_preference, settings)
    files = [frozen(one, entry) for entry in entries]
    payload = new_jobs.payload_of(request, settings, model_id=model.id, files=files, origin="sync")
    clock = LedgerClock(engine)
    clock.sample()
    drop_id, now = clock.new_id(), clock.now()
    drop = job_drop(
        payload, partition=day_of_arrival(now), principal=PRINCIPAL, attributes={"via": "sync"}, key=payload.job_id,
        started=True,
    )  # fmt: skip
    with engine.begin() as connection:
        new_jobs.insert(connection, request, payload, principal=PRINCIPAL, started=True)
    land(engine, storage, [pack(drop, drop_id=drop_id, received_at=now)], clock)
    with engine.begin() as connection:
        batch_jobs.landed(connection, payload.job_id, drop_id)
    return payload.job_id
