"""Syncs by call: what one finds is processed by jobs that are started at once."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ingestion_assets.documents import source_sync
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.source_sync import Synced, SyncGoesOnError, SyncOvertakenError
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.documents.web.job_creation import create_job
from ingestion_assets.frontdoor.door import FrontDoor, ledger_needed
from ingestion_assets.frontdoor.problems import Problem

_threads = ThreadPoolExecutor(4, thread_name_prefix="documents-sync")


async def sync_now(
    door: FrontDoor, one: Connection, *, principal: str, facts: Mapping[str, str], confirmed: bool = False
) -> Synced:
    """Sync a connection and start the jobs that it needs. Raises `Problem` 404, 409, 503."""
    loop = asyncio.get_running_loop()

    def make_jobs(now: Connection, entries: Sequence[Entry]) -> list[str]:
        return [
            asyncio.run_coroutine_threadsafe(
                _make_job(door, now, part, principal=principal, facts=facts), loop
            ).result()
            for part in source_sync.parts(entries)
        ]

    def work() -> Synced:
        return source_sync.sync(door.engine, door.settings, one, make_jobs, confirmed=confirmed)

    try:
        async with ledger_needed(within_s=None):  # a source may take its time
            return await loop.run_in_executor(_threads, work)
    except SyncGoesOnError:
        raise Problem(409, "The connection is being synced already.") from None
    except SyncOvertakenError as error:
        raise Problem(404 if error.deleted else 409, str(error), job_ids=error.job_ids) from error
    except FileError as error:
        raise unavailable_source(one, error) from error


async def _make_job(
    door: FrontDoor, one: Connection, entries: Sequence[Entry], *, principal: str, facts: Mapping[str, str]
) -> str:
    made = await create_job(
        door,
        source_sync.job_request(one, door.settings),
        principal=principal,
        facts=facts,
        origin="sync",
        entries={one.id: entries},
        started=True,
    )
    return made.job_id


def unavailable_source(one: Connection, error: FileError) -> Problem:
    """What is to be answered when a connection's source cannot be had: 503 where it may be there soon, else 409."""
    if error.code == "download_failed":
        return Problem(503, error.sentence, retry_after_s=30, code=error.code, connection_id=one.id)
    return Problem(409, error.sentence, code=error.code, connection_id=one.id)
