"""The conversations flow over HTTP: batches and single messages in, the state of the flow out."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from pymongo import DESCENDING
from pymongo.errors import PyMongoError
from starlette.responses import Response

from ingestion_assets.conversations.collections import (
    INGESTION_LOGS,
    MESSAGES,
    NOT_REMOVED,
    PROJECTS,
    SESSIONS,
)
from ingestion_assets.conversations.documented import (
    ANSWERS,
    FLOW,
    LINE,
    MESSAGE,
    Batch,
)
from ingestion_assets.conversations.envelope import EnvelopeError, messages_in_batch, single_message
from ingestion_assets.conversations.flow import session_attribute
from ingestion_assets.conversations.schema import BatchIngestResponse
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import (
    IDEMPOTENCY_KEY,
    PREFER,
    keyed_errors,
    schema_of,
    secured,
    takes,
)
from ingestion_assets.frontdoor.problems import Problem, unavailable
from ingestion_assets.frontdoor.receiving import Arrival, new_drop, take_in
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.stores.mongo import async_database

_numbers = itertools.count()  # spread payloads over the lanes
NEWEST = 10

router = APIRouter(prefix="/api/v1/ingest", tags=[FLOW])


class FlowStatus(BaseModel):
    """The state of the flow."""

    status: str = Field(
        description="`operational`, or `degraded` while payloads wait for longer than is normal."
    )
    statistics: dict[str, int] = Field(description="Totals of messages, sessions and projects.")
    recent_ingestions: list[dict[str, Any]] = Field(description="The ten newest batches.")
    backlog: dict[str, Any] = Field(
        description="Payloads by state, and for how many seconds the oldest has been waiting for its run."
    )


@router.post(
    "/batch",
    operation_id="ingestBatch",
    summary="Ingest a batch",
    description=(
        "At most 1000 messages, and todos and configuration beside them. One bad message never sinks the batch: it is counted as "
        "failed, listed in `errors` and kept as a reject. Bodies may be compressed (`Content-Encoding: gzip` or `zstd`)."
    ),
    response_model=BatchIngestResponse,
    responses=ANSWERS,
    openapi_extra=takes(schema_of(Batch), PREFER, IDEMPOTENCY_KEY, example={"messages": [MESSAGE]}),
)
async def ingest_batch(request: Request) -> Response:
    make_drop = _drop_maker(request, "batch", messages_in_batch, level=2)
    return await take_in(request, flow=FLOW, scopes=(FLOW,), make_drop=make_drop)


@router.post(
    "/message",
    operation_id="ingestMessage",
    summary="Ingest one message",
    description="A single transcript line as the body; otherwise as a batch of one.",
    response_model=BatchIngestResponse,
    responses=ANSWERS,
    openapi_extra=takes(LINE, PREFER, IDEMPOTENCY_KEY, example=MESSAGE),
)
async def ingest_message(request: Request) -> Response:
    make_drop = _drop_maker(request, "message", single_message, level=0)
    return await take_in(request, flow=FLOW, scopes=(FLOW,), make_drop=make_drop)


DIRECT = {("POST", "/api/v1/ingest/batch"): ingest_batch, ("POST", "/api/v1/ingest/message"): ingest_message}


@router.get(
    "/status",
    operation_id="readIngestStatus",
    summary="State of the flow",
    description="Totals, the ten newest batches, and what waits. Needs the scope `conversations` or `read`.",
    response_model=FlowStatus,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def ingestion_status(request: Request) -> Response:
    door = front_door(request)
    await door.authenticate(request, FLOW, "read")
    try:
        totals, newest = await _totals(door)
    except (PyMongoError, LookupError) as error:  # away, or not configured
        raise unavailable("mongodb") from error
    statistics = await door.backlog.refresh()
    states = (
        {state: number for (flow, state), number in statistics.unfinished.items() if flow == FLOW}
        if statistics
        else {}
    )
    return json_response(
        {
            "status": "operational"
            if statistics and FLOW not in door.backlog.overdue(statistics)
            else "degraded",
            "statistics": totals,
            "recent_ingestions": newest,
            "backlog": {
                "landed": states.get("landed", 0),
                "claimed": states.get("claimed", 0),
                "oldest_unprocessed_s": statistics.waiting_s.get(FLOW) if statistics else None,
            },
        }
    )


CURL = (
    "/api/v1/ingest/message -H 'Content-Type: application/json' -d "
    """'{"type": "user", "uuid": "u1", "sessionId": "s1", "timestamp": "2026-01-31T12:00:00Z", """
    """"cwd": "/home/dev/projects/site", "message": {"role": "user", "content": "hello"}}'"""
)
HTTP = FlowHttp(routers=[router], direct=DIRECT, curl=CURL)


async def _totals(door: FrontDoor) -> tuple[dict[str, int], list[dict[str, Any]]]:
    database = door.resource(
        "mongodb",
        lambda: async_database(door.settings.mongodb_url, name=door.settings.mongodb_database),
        lambda opened: opened.client.close(),
    )
    totals = {
        f"total_{name}": await database[name].estimated_document_count() for name in (MESSAGES, SESSIONS)
    }
    totals[f"total_{PROJECTS}"] = await database[PROJECTS].count_documents(NOT_REMOVED)
    # The ids are the receipts', which come in order of arrival.
    logs = (
        await database[INGESTION_LOGS]
        .find({}, {"fence": 0})
        .sort("_id", DESCENDING)
        .limit(NEWEST)
        .to_list(NEWEST)
    )
    return totals, [
        {("id" if key == "_id" else key): value for key, value in entry.items()} for entry in logs
    ]


def _drop_maker(
    request: Request,
    endpoint: str,
    messages_of: Callable[[bytes], tuple[Sequence[msgspec.Raw], str | None]],
    *,
    level: int,
) -> Callable[[Arrival, bytes], NewDrop]:
    door = front_door(request)

    def make(arrival: Arrival, body: bytes) -> NewDrop:
        try:
            messages, session = messages_of(body)
        except EnvelopeError as error:
            raise Problem(error.status, error.detail, errors=error.errors) from error
        except RecursionError:
            raise door.bodies.too_deep() from None
        door.bodies.check_depth(body, parts=messages, level=level)
        return new_drop(
            request, arrival, body, flow=FLOW, records=len(messages), number=next(_numbers),
            attributes={"endpoint": endpoint, **session_attribute(session)},
        )  # fmt: skip

    return make
