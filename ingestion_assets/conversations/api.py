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

from ingestion_assets.conversations.envelope import EnvelopeError, messages_in_batch, single_message
from ingestion_assets.conversations.flow import session_attribute
from ingestion_assets.frontdoor.bodies import too_deep
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter, keyed_errors
from ingestion_assets.frontdoor.problems import Problem, unavailable
from ingestion_assets.frontdoor.receipt_view import ReceiptView
from ingestion_assets.frontdoor.receipts import json_response
from ingestion_assets.frontdoor.receiving import Arrival, take_in
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.stores.mongo import INGESTION_LOGS, MESSAGES, PROJECTS, SESSIONS, async_database

FLOW = "conversations"
_numbers = itertools.count()  # spread payloads over the lanes
NEWEST = 10

router = APIRouter(prefix="/api/v1/ingest", tags=[FLOW])


class IngestStats(BaseModel):
    """Counts of one batch; received = processed + skipped + failed."""

    messages_received: int
    messages_processed: int
    messages_skipped: int = Field(description="Duplicates of what was stored before.")
    messages_failed: int
    sessions_created: int
    sessions_updated: int
    todos_processed: int
    todos_superseded: int = Field(0, description="Todo lists older than what is stored.")
    todos_failed: int = Field(0, description="Todo lists that cannot be stored; kept as rejects.")
    config_updated: bool
    config_superseded: bool = Field(False, description="The configuration is older than what is stored.")
    config_failed: bool = Field(False, description="The configuration cannot be stored; kept as a reject.")
    projects_created: list[str]
    duration_ms: int


class BatchIngestResponse(BaseModel):
    """What became of one batch."""

    success: bool
    stats: IngestStats
    message: str
    errors: list[dict[str, Any]] | None = Field(
        None,
        description="Failed messages: index, uuid, code, reason. Todo lists and a configuration that cannot be stored: part, code, reason.",
    )
    warnings: list[dict[str, Any]] | None = Field(
        None,
        description="What was stored although odd, and conflicts. Todo lists and a configuration older than what is stored: part, code `superseded`, superseded_by (a receipt).",
    )


class FlowStatus(BaseModel):
    """The state of the flow."""

    status: str = Field(description="`operational`, or `degraded` while payloads wait for long.")
    statistics: dict[str, int] = Field(description="Totals of messages, sessions and projects.")
    recent_ingestions: list[dict[str, Any]] = Field(description="The ten newest batches.")
    backlog: dict[str, Any] = Field(
        description="Payloads by state, and the age of the oldest unprocessed in seconds."
    )


_MESSAGE = {
    "type": "user", "uuid": "0b5c7d8e-6a0f-4d0b-9c39-4e1f6a2b7c11", "sessionId": "f3f1c9a0-8f4e-4c67-9a65-1b2a3c4d5e6f",
    "timestamp": "2026-01-31T09:30:00.000Z", "cwd": "/home/ada/projects/engine",
    "message": {"role": "user", "content": "What does this function do?"},
}  # fmt: skip
_STATS = {
    "messages_received": 1, "messages_processed": 1, "messages_skipped": 0, "messages_failed": 0, "sessions_created": 1,
    "sessions_updated": 0, "todos_processed": 0, "todos_superseded": 0, "todos_failed": 0, "config_updated": False,
    "config_superseded": False, "config_failed": False, "projects_created": ["0197b0c0"], "duration_ms": 840,
}  # fmt: skip
_RESULT = {"success": True, "stats": _STATS, "message": "Batch ingestion completed successfully"}
_RECEIPT = "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"
_LANDED = {
    "id": _RECEIPT, "state": "landed", "flow": FLOW, "partition": "2026-01-31", "subject": None, "records": 1,
    "size_bytes": 281, "received_at": "2026-01-31T09:30:01Z", "url": f"/api/v1/receipts/{_RECEIPT}", "registered": False,
}  # fmt: skip
_BATCH_SCHEMA = {
    "type": "object",
    "properties": {
        "messages": {"type": "array", "maxItems": 1000, "items": {}, "description": "Transcript lines, as they are."},
        "todos": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["sessionId", "filename", "todos"],
                "properties": {
                    "sessionId": {"type": "string"},
                    "filename": {"type": "string"},
                    "todos": {"type": "array"},
                    "todoCount": {"type": ["integer", "null"]},
                },
            },
        },
        "config": {
            "type": ["object", "null"],
            "properties": {
                "config": {"type": ["object", "null"]},
                "settings": {"type": ["object", "null"]},
                "userId": {"type": ["string", "null"]},
            },
        },
        "sessionId": {
            "type": ["string", "null"], "minLength": 1, "maxLength": 128,
            "description": "The session of all messages that name none.",
        },
    },
}  # fmt: skip
_PARAMETERS = [
    header_parameter(
        "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
    ),
    header_parameter(
        "Idempotency-Key", "The same key with the same body gives the same receipt, never a second ingestion.",
        "8e03978e-40d5-43dd-bc93-6894a57f9324", minLength=1, maxLength=255, pattern=r"^[!-~]+$",
    ),
]  # fmt: skip
_TEXT = {"schema": {"type": "string"}}
_COMMON_HEADERS = {
    "X-Receipt-Id": {"description": "Id of the receipt.", **_TEXT},
    "Preference-Applied": {"description": "What of `Prefer` was followed.", **_TEXT},
    "Idempotent-Replayed": {"description": "`true` if this key and body were accepted before.", **_TEXT},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **keyed_errors(400, 408, 413, 415),
    200: {
        "description": "Ingested; the result.",
        "headers": _COMMON_HEADERS,
        "content": {"application/json": {"example": _RESULT}},
    },
    202: {
        "model": ReceiptView,
        "description": "On durable storage, the outcome is still to come; the receipt.",
        "headers": {**_COMMON_HEADERS, "Location": {"description": "Address of the receipt.", **_TEXT}},
        "content": {"application/json": {"example": _LANDED}},
    },
}


def _request_body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {
        "security": SECURITY,
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": content},
    }


@router.post(
    "/batch",
    summary="Ingest a batch",
    description=(
        "At most 1000 messages, and todos and configuration beside them. One bad message never sinks the batch: it is counted as "
        "failed, listed in `errors` and kept as a reject. Bodies may be compressed (`Content-Encoding: gzip` or `zstd`)."
    ),
    response_model=BatchIngestResponse,
    responses=_ANSWERS,
    openapi_extra=_request_body(_BATCH_SCHEMA, {"messages": [_MESSAGE]}),
)
async def ingest_batch(request: Request) -> Response:
    make_drop = _drop_maker(front_door(request), "batch", messages_in_batch, level=2)
    return await take_in(request, scopes=(FLOW,), make_drop=make_drop)


@router.post(
    "/message",
    summary="Ingest one message",
    description="A single transcript line as the body; otherwise as a batch of one.",
    response_model=BatchIngestResponse,
    responses=_ANSWERS,
    openapi_extra=_request_body({"type": "object"}, _MESSAGE),
)
async def ingest_message(request: Request) -> Response:
    make_drop = _drop_maker(front_door(request), "message", single_message, level=0)
    return await take_in(request, scopes=(FLOW,), make_drop=make_drop)


DIRECT = {("POST", "/api/v1/ingest/batch"): ingest_batch, ("POST", "/api/v1/ingest/message"): ingest_message}


@router.get(
    "/status",
    summary="State of the flow",
    description="Totals, the ten newest batches, and what waits. Needs the scope `conversations` or `read`.",
    response_model=FlowStatus,
    responses=keyed_errors(),
    openapi_extra={"security": SECURITY},
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
    oldest = statistics.oldest_unprocessed_s if statistics else None
    return json_response(
        {
            "status": "operational" if statistics and (oldest or 0) < 60 else "degraded",
            "statistics": totals,
            "recent_ingestions": newest,
            "backlog": {
                "landed": states.get("landed", 0),
                "claimed": states.get("claimed", 0),
                "oldest_unprocessed_s": oldest,
            },
        }
    )


async def _totals(door: FrontDoor) -> tuple[dict[str, int], list[dict[str, Any]]]:
    database = door.resource(
        "mongodb",
        lambda: async_database(door.settings.mongodb_url, name=door.settings.mongodb_database),
        lambda opened: opened.client.close(),
    )
    totals = {
        f"total_{name}": await database[name].estimated_document_count()
        for name in (MESSAGES, SESSIONS, PROJECTS)
    }
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
    door: FrontDoor,
    endpoint: str,
    messages_of: Callable[[bytes], tuple[Sequence[msgspec.Raw], str | None]],
    *,
    level: int,
) -> Callable[[Arrival, bytes], NewDrop]:
    def make(arrival: Arrival, body: bytes) -> NewDrop:
        try:
            messages, session = messages_of(body)
        except EnvelopeError as error:
            raise Problem(error.status, error.detail, errors=error.errors) from error
        except RecursionError:
            raise too_deep(door.bodies.max_depth) from None
        door.bodies.check_depth(body, parts=messages, level=level)
        flow = door.flows[FLOW]
        partition = flow.partition_of(door.clock.now(), None)
        return NewDrop(
            flow=FLOW,
            partition=partition,
            lane=flow.lane_of(partition, next(_numbers)),
            principal=arrival.principal.name,
            body=body,
            records=len(messages),
            idempotency_key=arrival.idempotency_key,
            attributes={**arrival.attributes, "endpoint": endpoint, **session_attribute(session)},
        )

    return make
