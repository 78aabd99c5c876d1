"""Stored documents over HTTP: listed, read, deleted."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ingestion_assets.documents.job_requests import USER_ID
from ingestion_assets.documents.stored_documents import delete_document, document, documents, position_of
from ingestion_assets.documents.wanted_documents import Wanted
from ingestion_assets.documents.web import search_answers
from ingestion_assets.documents.web.user_access import UUID
from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.frontdoor.paging import IdAndPathCursor, id_and_text_cursor, page
from ingestion_assets.frontdoor.problems import Problem

router = APIRouter(prefix="/documents")

SECURED = secured()
UserId = Annotated[str, Query(pattern=USER_ID, description="Whose they are.", examples=["user123"])]
DocumentId = Annotated[str, Path(pattern=UUID, examples=["0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"])]
Chosen = Annotated[str | None, Query(min_length=1, max_length=2000, pattern=r"^[^\x00]+$")]


@router.get(
    "",
    operation_id="listDocuments",
    summary="List documents",
    description="A user's stored documents by path. Needs the scope `documents:<user_id>`.",
    response_model=search_answers.DocumentPage,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def list_documents(
    request: Request,
    user_id: UserId,
    connection_id: Chosen = None,
    job_id: Chosen = None,
    mime: Chosen = None,
    language: Chosen = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Most items.")] = 50,
    cursor: IdAndPathCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    wanted = Wanted(user_id=user_id, connection_id=connection_id, job_id=job_id, mime=mime, language=language)
    after = id_and_text_cursor(cursor)
    found = await door.in_thread(
        lambda connection: documents(connection, wanted, after=after, limit=limit + 1)
    )
    return page(found, limit=limit, position=position_of)


@router.get(
    "/{document_id}",
    operation_id="readDocument",
    summary="Read a document",
    description="Its text, where its chunks stand in it, its quality and what is to be said of its parsing. Needs the scope `documents:<user_id>`.",
    response_model=search_answers.DocumentDetails,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read_document(request: Request, document_id: DocumentId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    wanted = Wanted(user_id=user_id, document_id=document_id)
    found = await door.in_thread(lambda connection: document(connection, wanted))
    if found is None:
        raise _no_document()
    return json_response(found)


@router.delete(
    "/{document_id}",
    operation_id="deleteDocument",
    summary="Delete a document",
    description=(
        "With all that no other document has of it: text, chunks, vectors. The file at its source stays: a later job stores it again, a "
        "sync once the file has changed. Needs the scope `documents:<user_id>`."
    ),
    status_code=204,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def delete(request: Request, document_id: DocumentId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    if not await door.in_thread(lambda connection: delete_document(connection, user_id, document_id)):
        raise _no_document()
    return Response(status_code=204)


def _no_document() -> Problem:
    return Problem(404, "There is no such document.")
