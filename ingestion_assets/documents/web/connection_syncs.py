"""Syncs by call, and those that come by themselves; each has what it found processed by jobs that are started at once."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
import structlog

from ingestion_assets.documents import source_connections, source_sync
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.job_requests import JobRequest
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.source_sync import Synced, SyncGoesOnError
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.documents.web.job_creation import act, create_job
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem

LOOK_S = 5.0
PRINCIPAL = "sync"

log = structlog.get_logger(__name__)
_threads = ThreadPoolExecutor(4, thread_name_prefix="documents-sync")


async def sync_now(
    door: FrontDoor, one: Connection, *, principal: str, facts: Mapping[str, str], confirmed: bool = False
) -> Synced:
    """Sync a connection and start the jobs that it needs. Raises `Problem` 409, 503."""
    loop = asyncio.get_running_loop()

    def make_jobs(entries: Sequence[Entry]) -> list[str]:
        most = documents_settings().documents_max_files
        parts = [entries[start : start + most] for start in range(0, len(entries), most)]
        return [
            asyncio.run_coroutine_threadsafe(
                _make_job(door, one, part, principal=principal, facts=facts), loop
            ).result()
            for part in parts
        ]

    def work() -> Synced:
        return source_sync.sync(door.engine, door.settings, one, make_jobs, confirmed=confirmed)

    try:
        return await loop.run_in_executor(_threads, work)
    except SyncGoesOnError:
        raise Problem(409, "The connection is being synced already.") from None
    except FileError as error:
        raise unavailable_source(one, error) from error


async def _make_job(
    door: FrontDoor, one: Connection, entries: Sequence[Entry], *, principal: str, facts: Mapping[str, str]
) -> str:
    request = JobRequest.model_validate(
        {
            "user_id": one.user_id, "name": f"Sync of {one.name}"[:300], "processing_options": one.sync_options,
            "file_selections": [{"connection_id": one.id, "source_type": one.source_type, "file_ids": ["*"]}],
        }
    )  # fmt: skip
    made = await create_job(
        door, request, principal=principal, facts=facts, origin="sync", entries={one.id: entries}
    )
    await act(door, made.job_id, "start", principal=principal, facts=facts)
    return made.job_id


def unavailable_source(one: Connection, error: FileError) -> Problem:
    """What is to be answered when a connection's source cannot be had: 503 where it may be there soon, else 409."""
    if error.code == "download_failed":
        return Problem(503, error.sentence, retry_after_s=30, code=error.code, connection_id=one.id)
    return Problem(409, error.sentence, code=error.code, connection_id=one.id)


_DUE = sa.text("""
    UPDATE documents.connections SET sync_at = clock_timestamp() + make_interval(secs => sync_every_s)
    WHERE id = (
        SELECT id FROM documents.connections WHERE sync_at <= clock_timestamp() ORDER BY sync_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id
""")


async def keep_synced(door: FrontDoor) -> None:
    """Until cancelled: connections are synced when they are due, each by one front door. What fails is the connection's state."""
    while True:
        try:
            while (due := await door.in_thread(_due)) is not None:
                await _sync_due(door, due)
        except Problem as problem:
            log.debug("syncs_wait", error=problem.detail)
        await asyncio.sleep(LOOK_S)


def _due(connection: sa.Connection) -> Connection | None:
    id_: Any = connection.scalar(_DUE)
    return None if id_ is None else source_connections.get(connection, id_)


async def _sync_due(door: FrontDoor, due: Connection) -> None:
    try:
        done = await sync_now(door, due, principal=PRINCIPAL, facts={"via": "sync"})
        log.info(
            "connection_synced", connection=due.id, held=done.held, jobs=len(done.job_ids), **done.counts
        )
    except Problem as problem:  # the next time it is due
        log.warning("connection_not_synced", connection=due.id, why=problem.detail)
