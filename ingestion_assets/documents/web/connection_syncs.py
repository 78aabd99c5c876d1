"""Syncs by call: what one finds is processed by jobs that are started at once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingestion_assets.documents import source_sync
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.source_sync import Synced, SyncGoesOnError, SyncOvertakenError
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.documents.web import connection_answers as answers
from ingestion_assets.documents.web.connection_endpoints import (
    NEEDS,
    ConnectionId,
    connection_of,
    unavailable_source,
)
from ingestion_assets.documents.web.job_creation import create_job
from ingestion_assets.documents.web.user_access import SECURED, UserId
from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.openapi import keyed_errors
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.request_headers import facts_of
from ingestion_assets.frontdoor.shared_threads import SharedThreads

router = APIRouter()
_syncs = SharedThreads(8, of_a_user=2, name="documents-sync")


@router.post(
    "/connections/{connection_id}/sync",
    operation_id="syncConnection",
    summary="Sync a connection",
    description=(
        "Compares the source with what is stored: new and changed files become a job, which is started; renamed and moved ones keep their "
        "vectors; those that are gone, or that the connection's `include` and `exclude` leave out, leave the search. A sync that would remove "
        "more than half (and at least 10), or that could not read all of the source, does nothing and is held, until `confirm=true` says that "
        "it may. 409 where the connection was changed meanwhile: then what was found is not kept, and jobs that were made go on "
        f"(`job_ids`). {NEEDS}"
    ),
    response_model=answers.SyncView,
    responses=keyed_errors(404, 409),
    openapi_extra=SECURED,
)
async def sync(
    request: Request,
    connection_id: ConnectionId,
    user_id: UserId,
    confirm: Annotated[bool, Query(description="Do it, whatever it removes.")] = False,
) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, f"documents:{user_id}")
    one = await connection_of(door, connection_id, user_id)
    facts = {**facts_of(request.scope["state"]["headers"], client=request.scope.get("client")), "via": "http"}
    done = await sync_now(door, one, principal=principal.name, facts=facts, confirmed=confirm)
    return json_response({"files": done.counts, "job_ids": done.job_ids, "held": done.held})


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
            return await _syncs.run(one.user_id, work)
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
