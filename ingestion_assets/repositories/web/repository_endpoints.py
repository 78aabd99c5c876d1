"""Repositories over HTTP: listed, their files, what is like a file, what answers a question; watched, deleted."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, StrictBool
from starlette.responses import Response

from ingestion_assets.embedding.asking import ask_question
from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.json_bodies import json_body
from ingestion_assets.frontdoor.long_reads import read_long
from ingestion_assets.frontdoor.openapi import keyed_errors, schema_of, takes
from ingestion_assets.frontdoor.paging import TextCursor, page, text_cursor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.repositories import published
from ingestion_assets.repositories.deleting import delete
from ingestion_assets.repositories.flow import SCOPE
from ingestion_assets.repositories.settings import repositories_settings
from ingestion_assets.repositories.watched_repositories import set_watched
from ingestion_assets.repositories.web import repository_views
from ingestion_assets.repositories.web.repository_parameters import SECURED, Limit, RepositoryKey

router = APIRouter(prefix="/repositories")

CANDIDATES = 50
LONGEST_SHOWN = 4 * 8192  # a path of the longest that its index can hold, each byte of it escaped
_WORD = re.compile(r"\w{2,200}")

FilePath = Annotated[
    str,
    Query(
        min_length=1,
        max_length=LONGEST_SHOWN,
        pattern=r"^[^\x00]+$",
        description="The file, as lists name it.",
        examples=["src/app.py"],
    ),
]


@router.get(
    "",
    operation_id="listRepositories",
    summary="List repositories",
    description="Those that were indexed, each with its newest snapshot. Needs the scope `read`.",
    response_model=repository_views.RepositoryPage,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def list_all(request: Request, limit: Limit = 50, cursor: TextCursor = None) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    after = text_cursor(cursor)
    found = await door.in_thread(
        lambda connection: published.repositories(connection, after=after, limit=limit + 1)
    )
    return page(found, limit=limit, position=lambda one: one["repository"])


@router.get(
    "/search",
    operation_id="searchRepositories",
    summary="Search code",
    description=(
        "By a question in words or by names: text vectors and symbols, fused. All repositories, or one. Names are found by what words in them "
        "begin with, by the 16 longest words of the question. Two searches of a key are answered at a time; one that goes through too much is given "
        "up after some seconds (503). Needs the scope `read`."
    ),
    response_model=repository_views.SearchResult,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def search(
    request: Request,
    q: Annotated[
        str,
        Query(min_length=1, max_length=1000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", description="The question.", examples=["read a file line by line"]),
    ],
    repo: Annotated[
        str | None, Query(max_length=2000, pattern=r"^[^\x00]+$", description="One repository, as lists name it; default: all.")
    ] = None,
    limit: Limit = 10,
) -> Response:  # fmt: skip
    door = front_door(request)
    principal = await door.authenticate(request, "read")
    model = repositories_settings().text_model
    asked = await ask_question(door.in_thread, door.settings, model, q, hears=door.notifications.subscribe)
    words = sorted(set(_WORD.findall(q.lower())))

    def look(connection: Any) -> list[dict[str, Any]]:
        named = published.by_name(connection, words, partition=repo, limit=CANDIDATES + limit)
        texts = []
        if asked is not None:
            texts = published.by_text(
                connection, asked.vector, space=f"{model}/", partition=repo, limit=CANDIDATES + limit
            )
        return published.fused(named, texts, limit=limit)

    found = await read_long(
        door, principal.name, look, instead="Ask with fewer or rarer words, or in one repository (`repo`)."
    )
    by = ["names"] if asked is None else ["text", "names"]
    return json_response({"by": by, "items": found, "next": None})


@router.get(
    "/{repo:path}/files",
    operation_id="listRepositoryFiles",
    summary="List a repository's files",
    description="Every path of the tree, embedded or skipped with the reason. Needs the scope `read`.",
    response_model=repository_views.FilePage,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def list_files(
    request: Request,
    repo: RepositoryKey,
    state: Annotated[Literal["embedded", "skipped"] | None, Query(description="Only those.")] = None,
    reason: Annotated[
        str | None,
        Query(
            max_length=50, pattern=r"^[a-z_]+$", description="Only those skipped for it.", examples=["binary"]
        ),
    ] = None,
    limit: Limit = 50,
    cursor: TextCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    after = text_cursor(cursor)
    found = await door.in_thread(
        lambda connection: published.files(
            connection, repo, state=state, reason=reason, after=after, limit=limit + 1
        )
    )
    if found is None:
        raise _no_repository()
    return page(found, limit=limit, position=lambda one: one["stored_path"], item=_file)


@router.get(
    "/{repo:path}/similar",
    operation_id="listSimilarFiles",
    summary="List files that are like a file",
    description="By the stable part of their structural vectors, within the repository or in all of them. Needs the scope `read`.",
    response_model=repository_views.SimilarFiles,
    responses=keyed_errors(404, 409),
    openapi_extra=SECURED,
)
async def list_similar(
    request: Request,
    repo: RepositoryKey,
    path: FilePath,
    within: Annotated[Literal["repository", "all"], Query(description="Where to look.")] = "repository",
    limit: Limit = 10,
) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, "read")

    def look(connection: Any) -> list[dict[str, Any]]:
        snapshot = published.snapshot_seen(connection, repo)
        if snapshot is None:
            raise _no_repository()
        file = published.file_of(connection, snapshot, path)
        if file is None:
            raise Problem(404, "The repository has no such file; its list of files says which there are.")
        if file.state != "embedded":
            raise Problem(409, f"The file is not embedded: {file.reason}.")
        return published.similar(connection, snapshot, file.path, everywhere=within == "all", limit=limit)

    found = await read_long(door, principal.name, look, instead="Look within the repository (`within`).")
    return json_response({"items": found, "next": None})


class RepositoryChange(BaseModel):
    """What is to be changed of a repository."""

    model_config = ConfigDict(json_schema_extra={"example": {"watched": True}})

    watched: StrictBool


@router.patch(
    "/{repo:path}",
    operation_id="changeRepository",
    summary="Watch a repository, or no longer",
    description="A watched one is asked for its newest commit now and then, and submitted when there is one. Needs the scope `repos`.",
    response_model=repository_views.WatchView,
    responses=keyed_errors(400, 404, 408, 413, 415),
    openapi_extra=takes(schema_of(RepositoryChange)),
)
async def change(request: Request, repo: RepositoryKey) -> Response:
    door = front_door(request)
    await door.authenticate(request, SCOPE)
    wanted = await json_body(request, RepositoryChange)
    if not await door.in_thread(lambda connection: set_watched(connection, repo, wanted.watched)):
        raise _no_repository()
    return json_response({"repository": repo, "watched": wanted.watched})


@router.delete(
    "/{repo:path}",
    operation_id="deleteRepository",
    summary="Delete a repository",
    description="All that is stored of it, and what waits or is worked on for it. Needs the scope `repos`.",
    status_code=204,
    response_class=Response,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def delete_one(request: Request, repo: RepositoryKey) -> Response:
    door = front_door(request)
    await door.authenticate(request, SCOPE)
    if not await door.in_thread(lambda connection: delete(connection, repo), goes_on=True):
        raise _no_repository()
    return Response(status_code=204)


def _file(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "stored_path"}


def _no_repository() -> Problem:
    return Problem(404, "There is no such repository, or it was never indexed.")
