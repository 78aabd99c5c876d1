"""Connections over HTTP: made, listed, tested, looked into, synced, changed, forgotten."""

from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.listing import page as page_of
from ingestion_assets.documents.sources.listing import place_after, position_of
from ingestion_assets.documents.sources.opening import ConfigError
from ingestion_assets.documents.sources.source import Entry, Source
from ingestion_assets.documents.web import connection_answers as answers
from ingestion_assets.documents.web import connection_syncs
from ingestion_assets.documents.web.user_access import SECURED, UserId, may
from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_bodies import json_body
from ingestion_assets.frontdoor.openapi import keyed_errors, schema_of, takes
from ingestion_assets.frontdoor.paging import (
    PlaceCursor,
    TextCursor,
    number_and_text_cursor,
    page,
    text_cursor,
)
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.request_headers import facts_of
from ingestion_assets.frontdoor.shared_threads import SharedThreads

Value = TypeVar("Value")

router = APIRouter()
_sources = SharedThreads(8, of_a_user=2, name="documents-sources")

ConnectionId = Annotated[
    str, Path(max_length=100, pattern=r"^conn_[0-9a-f]{24}$", examples=["conn_0123456789abcdef01234567"])
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items.")]
_NEEDS = "Needs the scope `documents:<user_id>`."


@router.post(
    "/connections",
    operation_id="createConnection",
    summary="Connect a source of files",
    description=f"Nothing of the source is asked yet; `…/test` does. {_NEEDS}",
    status_code=201,
    response_model=answers.ConnectionView,
    responses=keyed_errors(400, 408, 413, 415),
    openapi_extra=takes(schema_of(answers.NewConnection)),
)
async def create(request: Request) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    asked = await json_body(request, answers.NewConnection)
    may(principal, asked.user_id)
    _check_options(asked.processing_options)

    def make(connection: sa.Connection) -> Connection:
        return source_connections.create(
            connection, door.settings, user_id=asked.user_id, source_type=asked.source_type, name=asked.name, config=asked.config,
            sync_every_s=asked.sync_every_s, sync_options=asked.processing_options.model_dump(exclude_unset=True),
        )  # fmt: skip

    try:
        made = await door.in_thread(make)
    except ConfigError as error:
        raise _refused(error) from error
    where = {"Location": f"/api/v1/batch/connections/{made.id}"}
    return json_response(_view(door, made), 201, headers=where)


@router.get(
    "/connections",
    operation_id="listConnections",
    summary="List a user's connections",
    description=_NEEDS,
    response_model=answers.ConnectionPage,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def list_all(
    request: Request, user_id: UserId, limit: Limit = 50, cursor: TextCursor = None
) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    after = text_cursor(cursor)
    found = await door.in_thread(
        lambda connection: source_connections.list_of(connection, user_id, after=after, limit=limit + 1)
    )
    return page(found, limit=limit, position=lambda one: one.id, item=lambda one: _view(door, one))


@router.get(
    "/connections/{connection_id}",
    operation_id="readConnection",
    summary="Read a connection",
    description=f"Its state, and whether a sync of it is held. {_NEEDS}",
    response_model=answers.ConnectionView,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read(request: Request, connection_id: ConnectionId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    return json_response(_view(door, await _connection(door, connection_id, user_id)))


@router.patch(
    "/connections/{connection_id}",
    operation_id="changeConnection",
    summary="Change a connection",
    description=f"New credentials, another place, its name, how often it is synced. {_NEEDS}",
    response_model=answers.ConnectionView,
    responses=keyed_errors(400, 404, 408, 413, 415),
    openapi_extra=takes(schema_of(answers.ConnectionChange)),
)
async def change(request: Request, connection_id: ConnectionId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    asked = await json_body(request, answers.ConnectionChange)
    may(principal, asked.user_id)
    given = asked.model_dump(exclude_unset=True, include={"name", "sync_every_s", "config"})
    if asked.processing_options is not None:
        _check_options(asked.processing_options)
        given["sync_options"] = asked.processing_options.model_dump(exclude_unset=True)
    one = await _connection(door, connection_id, asked.user_id)
    try:
        changed = await door.in_thread(
            lambda connection: source_connections.change(connection, door.settings, one, given)
        )
    except ConfigError as error:
        raise _refused(error) from error
    return json_response(_view(door, changed))


@router.delete(
    "/connections/{connection_id}",
    operation_id="deleteConnection",
    summary="Forget a connection",
    description=f"With its credentials. Its documents leave the search; files of its jobs that are not done fail. {_NEEDS}",
    status_code=204,
    response_class=Response,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def delete_one(request: Request, connection_id: ConnectionId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    if not await door.in_thread(
        lambda connection: source_connections.delete(connection, connection_id, user_id=user_id)
    ):
        raise _no_connection()
    return Response(status_code=204)


@router.post(
    "/connections/{connection_id}/test",
    operation_id="testConnection",
    summary="Test a connection",
    description=f"Asks the source with the credentials. {_NEEDS}",
    response_model=answers.Tested,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def test(request: Request, connection_id: ConnectionId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    one = await _connection(door, connection_id, user_id)
    error: FileError | None = None
    try:
        await _asked(door, one, lambda source: source.test())
    except FileError as raised:
        error = raised
    await door.in_thread(lambda connection: source_connections.note(connection, one.id, error))
    if error is None:
        return json_response({"success": True, "code": None, "message": "The source can be read."})
    return json_response({"success": False, "code": error.code, "message": error.sentence})


@router.get(
    "/connections/{connection_id}/files",
    operation_id="listConnectionFiles",
    summary="List the files of a source",
    description=f"As the source has them now, with those that are ignored or refused, and why. {_NEEDS}",
    response_model=answers.SourceFilePage,
    responses=keyed_errors(404, 409),
    openapi_extra=SECURED,
)
async def list_files(
    request: Request,
    connection_id: ConnectionId,
    user_id: UserId,
    limit: Limit = 100,
    cursor: PlaceCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    after = None if cursor is None else place_after(number_and_text_cursor(cursor))
    one = await _connection(door, connection_id, user_id)
    try:
        found = await _asked(door, one, lambda source: page_of(source, after=after, limit=limit + 1))
    except FileError as error:
        raise connection_syncs.unavailable_source(one, error) from error
    return page(found, limit=limit, position=position_of, item=_file)


@router.post(
    "/connections/{connection_id}/sync",
    operation_id="syncConnection",
    summary="Sync a connection",
    description=(
        "Compares the source with what is stored: new and changed files become a job, which is started; renamed and moved ones keep their "
        "vectors; those that are gone leave the search. A sync that would remove more than half (and at least 10), or that could not read "
        f"all of the source, does nothing and is held, until `confirm=true` says that it may. {_NEEDS}"
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
    one = await _connection(door, connection_id, user_id)
    facts = {**facts_of(request.scope["state"]["headers"], client=request.scope.get("client")), "via": "http"}
    done = await connection_syncs.sync_now(
        door, one, principal=principal.name, facts=facts, confirmed=confirm
    )
    return json_response({"files": done.counts, "job_ids": done.job_ids, "held": done.held})


async def _connection(door: FrontDoor, id_: str, user_id: str) -> Connection:
    found = await door.in_thread(lambda connection: source_connections.get(connection, id_, user_id=user_id))
    if found is None:
        raise _no_connection()
    return found


async def _asked(door: FrontDoor, one: Connection, ask: Callable[[Source], Value]) -> Value:
    """What an open source says, in a thread: it may take its time. Raises `FileError`."""

    def work() -> Value:
        with closing(source_connections.open_source(one, door.settings)) as source:
            return ask(source)

    return await _sources.run(one.user_id, work)


def _view(door: FrontDoor, one: Connection) -> dict[str, Any]:
    shown = source_connections.shown_config(one, door.settings)
    return {
        "connection_id": one.id, "user_id": one.user_id, "source_type": one.source_type, "name": one.name, "config": shown,
        "status": one.status, "error": one.error, "sync_every_s": one.sync_every_s, "next_sync_at": one.sync_at,
        "synced_at": one.synced_at, "held": one.held, "created_at": one.created_at,
    }  # fmt: skip


def _file(entry: Entry) -> dict[str, Any]:
    return {
        "file_id": entry.file_id, "name": entry.name, "path": entry.path, "size": entry.size, "mime_type": entry.mime,
        "modified_at": entry.modified, "ignored": entry.ignored, "refused": entry.refused, "message": entry.sentence,
    }  # fmt: skip


def _check_options(options: Any) -> None:
    if options.source_specific_options.passwords:
        place = ("processing_options", "source_specific_options", "passwords")
        raise Problem(
            422, "Passwords belong to a job, not to a connection.",
            errors=[error_item("body", *place, msg="not taken here", type="passwords")],
        )  # fmt: skip


def _refused(error: ConfigError) -> Problem:
    item = error_item("body", *error.where, msg=error.why, type="connection")
    return Problem(422, f"The connection is not valid: {error}.", errors=[item])


def _no_connection() -> Problem:
    return Problem(404, "There is no such connection.")
