"""Connections over HTTP: made, listed, tested, looked into, changed, forgotten."""

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
from ingestion_assets.documents.web.connection_answers import view_of
from ingestion_assets.documents.web.option_checks import check_own
from ingestion_assets.documents.web.source_threads import sources
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

Value = TypeVar("Value")

router = APIRouter()

ConnectionId = Annotated[
    str, Path(max_length=100, pattern=r"^conn_[0-9a-f]{24}$", examples=["conn_0123456789abcdef01234567"])
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items.")]
NEEDS = "Needs the scope `documents:<user_id>`."


@router.post(
    "/connections",
    operation_id="createConnection",
    summary="Connect a source of files",
    description=f"Nothing of the source is asked yet; `…/test` does. {NEEDS}",
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
    await check_own(asked.processing_options, door.settings, user_id=asked.user_id)

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
    return json_response(view_of(made, door.settings), 201, headers=where)


@router.get(
    "/connections",
    operation_id="listConnections",
    summary="List a user's connections",
    description=NEEDS,
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
    return page(found, limit=limit, position=lambda one: one.id, item=lambda one: view_of(one, door.settings))


@router.get(
    "/connections/{connection_id}",
    operation_id="readConnection",
    summary="Read a connection",
    description=f"Its state, and whether a sync of it is held. {NEEDS}",
    response_model=answers.ConnectionView,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read(request: Request, connection_id: ConnectionId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    return json_response(view_of(await connection_of(door, connection_id, user_id), door.settings))


@router.patch(
    "/connections/{connection_id}",
    operation_id="changeConnection",
    summary="Change a connection",
    description=(
        "New credentials, another place, its name, how often it is synced, options of its syncs. What is not named stays. A new place and new "
        f"options have the next sync list all; one that is held is forgotten. {NEEDS}"
    ),
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
        await check_own(asked.processing_options, door.settings, user_id=asked.user_id)
        given["sync_options"] = asked.processing_options.model_dump(exclude_unset=True)
    try:
        changed = await door.in_thread(
            lambda one: source_connections.change(
                one, door.settings, connection_id, given, user_id=asked.user_id
            )
        )
    except ConfigError as error:
        raise _refused(error) from error
    if changed is None:
        raise _no_connection()
    return json_response(view_of(changed, door.settings))


@router.delete(
    "/connections/{connection_id}",
    operation_id="deleteConnection",
    summary="Forget a connection",
    description=f"With its credentials. Its documents leave the search; files of its jobs that are not done fail. {NEEDS}",
    status_code=204,
    response_class=Response,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def delete_one(request: Request, connection_id: ConnectionId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    if not await door.in_thread(
        lambda connection: source_connections.delete(connection, connection_id, user_id=user_id), goes_on=True
    ):
        raise _no_connection()
    return Response(status_code=204)


@router.post(
    "/connections/{connection_id}/test",
    operation_id="testConnection",
    summary="Test a connection",
    description=f"Asks the source with the credentials. {NEEDS}",
    response_model=answers.Tested,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def test(request: Request, connection_id: ConnectionId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    one = await connection_of(door, connection_id, user_id)
    error: FileError | None = None
    try:
        await _asked(door, one, lambda source: source.test())
    except FileError as raised:
        error = raised
    await door.in_thread(lambda connection: source_connections.note(connection, one, error))
    if error is None:
        return json_response({"success": True, "code": None, "message": "The source can be read."})
    return json_response({"success": False, "code": error.code, "message": error.sentence})


@router.get(
    "/connections/{connection_id}/files",
    operation_id="listConnectionFiles",
    summary="List the files of a source",
    description=(
        "As the source has them now, with those that are ignored or refused, and why; read by the connection's own options, `encoding` of an "
        f"archive's names among them, which a job that names such files is given, too. {NEEDS}"
    ),
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
    one = await connection_of(door, connection_id, user_id)
    try:
        found = await _asked(door, one, lambda source: page_of(source, after=after, limit=limit + 1))
    except FileError as error:
        raise unavailable_source(one, error) from error
    return page(found, limit=limit, position=position_of, item=_file)


async def connection_of(door: FrontDoor, id_: str, user_id: str) -> Connection:
    """A user's connection. Raises `Problem` 404."""
    found = await door.in_thread(lambda connection: source_connections.get(connection, id_, user_id=user_id))
    if found is None:
        raise _no_connection()
    return found


async def _asked(door: FrontDoor, one: Connection, ask: Callable[[Source], Value]) -> Value:
    """What an open source says, in a thread: it may take its time. Raises `FileError`."""

    def work() -> Value:
        with closing(source_connections.open_source(one, door.settings)) as source:
            return ask(source)

    return await sources.run(one.user_id, work)


def _file(entry: Entry) -> dict[str, Any]:
    return {
        "file_id": entry.file_id, "name": entry.name, "path": entry.path, "size": entry.size, "mime_type": entry.mime,
        "modified_at": entry.modified, "ignored": entry.ignored, "refused": entry.refused, "message": entry.sentence,
    }  # fmt: skip


def _refused(error: ConfigError) -> Problem:
    item = error_item("body", *error.where, msg=error.why, type="connection")
    return Problem(422, f"The connection is not valid: {error}.", errors=[item])


def unavailable_source(one: Connection, error: FileError) -> Problem:
    """What is to be answered when a connection's source cannot be had: 503 where it may be there soon, else 409."""
    if error.code == "download_failed":
        return Problem(503, error.sentence, retry_after_s=30, code=error.code, connection_id=one.id)
    return Problem(409, error.sentence, code=error.code, connection_id=one.id)


def _no_connection() -> Problem:
    return Problem(404, "There is no such connection.")
