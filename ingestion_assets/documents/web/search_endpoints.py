"""Search over HTTP."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ingestion_assets.documents.document_search import (
    CANDIDATES,
    Asked,
    Found,
    Mode,
    Searched,
    by_text,
    search,
    there_is,
)  # fmt: skip
from ingestion_assets.documents.job_requests import USER_ID
from ingestion_assets.documents.wanted_documents import Wanted
from ingestion_assets.documents.web import search_answers
from ingestion_assets.documents.web.user_access import UUID, may
from ingestion_assets.embedding.asking import ask_question
from ingestion_assets.embedding.errors import UnknownModelError
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_bodies import json_body
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.long_reads import read_long
from ingestion_assets.frontdoor.openapi import keyed_errors, schema_of, takes
from ingestion_assets.frontdoor.problems import unavailable

router = APIRouter()

_Strict = ConfigDict(extra="forbid", frozen=True)
_Name = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00]+$")]


class Filters(BaseModel):
    """Which documents are searched; all of the user's where nothing is said."""

    model_config = _Strict

    connection_id: _Name | None = None
    job_id: _Name | None = Field(default=None, description="The job that stored them last.")
    file_id: _Name | None = None
    document_id: Annotated[str, Field(pattern=UUID)] | None = None
    mime: _Name | None = Field(default=None, examples=["application/pdf"])
    language: _Name | None = Field(default=None, description="ISO 639-1.", examples=["en"])


class Question(BaseModel):
    """A search."""

    model_config = ConfigDict(
        extra="forbid", frozen=True,
        json_schema_extra={"example": {"user_id": "user123", "query": "How is a loan renewed?", "limit": 5, "filters": {"language": "en"}}},
    )  # fmt: skip

    user_id: str = Field(pattern=USER_ID, description="Whose documents are searched.")
    query: str = Field(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")
    limit: int = Field(10, ge=1, le=50, description="Most hits.")
    mode: Mode = Field(
        "hybrid", description="By vectors and by words, fused by reciprocal rank; or by one of them."
    )
    filters: Filters = Filters.model_validate({})
    fold: bool = Field(True, description="Chunks that overlap are one hit.")


@router.post(
    "/search",
    operation_id="searchDocuments",
    summary="Search documents",
    description=(
        "Passages that answer a question, each with its file, page, heading path, place in the text and why it was found. Where no vector of "
        "the question is to be had in time, a hybrid search goes by words alone and `by` says so; a search by vectors is 503. Two searches of a "
        "user are answered at a time; one that goes through too much is given up after some seconds (503). Needs the scope "
        "`documents:<user_id>`."
    ),
    response_model=search_answers.SearchResult,
    responses=keyed_errors(400, 408, 413, 415),
    openapi_extra=takes(schema_of(Question)),
)  # fmt: skip
async def search_documents(request: Request) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    asked = await json_body(request, Question)
    may(principal, asked.user_id)
    wanted = Wanted(user_id=asked.user_id, **asked.filters.model_dump())
    read = partial(
        read_long, door, asked.user_id, instead="Ask with fewer words, or in fewer documents (`filters`)."
    )
    searched: Searched = await read(lambda connection: there_is(connection, wanted))
    # Words are looked for while a worker makes the question's vector.
    vectors, words = await asyncio.gather(
        _vectors_of(door, {} if asked.mode == "text" else searched.chunks, asked.query),
        read(
            lambda connection: (
                []
                if asked.mode == "vector"
                else by_text(connection, wanted, searched, asked.query, limit=CANDIDATES)
            )
        ),
    )
    if asked.mode == "vector" and searched.chunks and not vectors:
        raise unavailable("worker", why="made no vector of the question in time: search by text")

    def look(connection: sa.Connection) -> Found:
        return search(
            connection, wanted, searched, asked.query, vectors, mode=asked.mode, limit=asked.limit, fold=asked.fold, words=words
        )  # fmt: skip

    found = await read(look)
    return json_response({"by": found.by, "items": found.items, "next": None})


async def _vectors_of(door: FrontDoor, models: Iterable[str], question: str) -> list[Asked]:
    """The question's vectors, of those models of the user's documents that are still to be had in that revision."""

    async def one(model_id: str) -> Asked | None:
        name = model_id.rpartition("@")[0]
        try:
            found = await ask_question(
                door.in_thread, door.settings, name, question, hears=door.notifications.subscribe
            )
        except UnknownModelError:
            return None
        if found is None or found.model_id != model_id:
            return None
        return Asked(model_id, found.vector, found.width)

    found: list[Any] = await asyncio.gather(*map(one, models))
    return [asked for asked in found if asked is not None]
