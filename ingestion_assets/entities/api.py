"""The entities flow over HTTP: single messages, batches and streams in; how much came in so far out."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response
from uuid_utils.compat import uuid7

from ingestion_assets.entities.event_stream import EventStream, StreamIntake
from ingestion_assets.entities.flow import NAME, lines_in
from ingestion_assets.entities.lines import Row, read_line, records
from ingestion_assets.entities.registry import defined_entities
from ingestion_assets.entities.streams import Acknowledged, Cutter, StreamName, acknowledged, day_of, decoder
from ingestion_assets.frontdoor.bodies import ENCODINGS
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter, keyed_errors
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receipt_view import ReceiptView
from ingestion_assets.frontdoor.receipts import json_response
from ingestion_assets.frontdoor.receiving import Arrival, let_in, outcome_response, take_in, waiting_for
from ingestion_assets.landing.drops import NewDrop, Receipt

TEXT = frozenset({"text/plain"})
LINES_EACH = 64 * 1024
"""Bytes of a part where every line gets an event."""

router = APIRouter(tags=[NAME])


class MessageAnswer(BaseModel):
    """A message that was stored."""

    status: Literal["success"]
    entity: str
    id: Any = Field(description="Its primary key; an object of fields where that has several.")
    timestamp: datetime


class MessageError(BaseModel):
    """A message that was not stored."""

    status: Literal["error"]
    message: str
    entity: str | None
    line: str


class LineError(BaseModel):
    """A line that was not stored."""

    line_number: int = Field(description="From 1.")
    byte_offset: int = Field(description="Where the line begins, from 0.")
    entity: str | None
    field: str | None
    code: str = Field(description="Stable.")
    message: str
    line: str


class BatchAnswer(BaseModel):
    """What became of a batch: processed = inserted + updated + unchanged + failed."""

    status: Literal["success", "partial", "error"]
    processed: int
    inserted: int
    updated: int
    unchanged: int
    failed: int
    errors: list[LineError]
    errors_not_listed: int = Field(description="Further errors, to be found among the rejects.")
    duration_ms: int


class StreamPosition(BaseModel):
    """How far a stream is durable, and what became of it so far."""

    stream: str
    channel: str
    lines: int = Field(description="Lines acknowledged.")
    bytes: int = Field(description="Bytes of text acknowledged: go on from here with `?offset=`.")
    ended: bool = Field(description="Whether its end was acknowledged.")
    unfinished: int = Field(description="Parts that no run has ended yet.")
    totals: dict[str, int]


class Statistics(BaseModel):
    """How much was processed since the beginning."""

    total_messages_processed: int
    messages_by_entity: dict[str, int]
    errors: int
    uptime_seconds: float
    requests_per_second: float = Field(
        description="Requests to these endpoints, over the life of the process."
    )


_ORDER = "O|1|100|O|123.45|1996-01-02|5-LOW|Clerk#000000951|0|nstructions sleep"
_PREFER = header_parameter(
    "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
)  # fmt: skip
_KEY = header_parameter(
    "Idempotency-Key", "The same key with the same body gives the same receipt, never a second ingestion.",
    "8e03978e-40d5-43dd-bc93-6894a57f9324", minLength=1, maxLength=255, pattern=r"^[!-~]+$",
)  # fmt: skip
_TEXT = {"schema": {"type": "string"}}
_HEADERS = {"X-Receipt-Id": {"description": "Id of the receipt.", **_TEXT}}
_LATER: dict[str, Any] = {
    "model": ReceiptView,
    "description": "On durable storage, the outcome is still to come; the receipt.",
    "headers": {**_HEADERS, "Location": {"description": "Address of the receipt.", **_TEXT}},
}
_EVENT = {
    "type": "object",
    "description": "A Server-Sent Event; `data` is a JSON object with `type` (or, of a single line, `status`), `id` a count of lines.",
    "properties": {"data": {"type": "string"}, "id": {"type": "string"}, "event": {"type": "string"}},
}
_REFUSED = {
    "description": "Nothing was stored: the lines are wrong, or the request is.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}},
    },
}


def _described(example: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    return {
        "security": SECURITY,
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": content},
    }


@router.post(
    "/ingest/message",
    summary="Ingest one message",
    description="One line, `PREFIX|field|field…`. Answers when it is in its table, or says why it is not.",
    response_model=MessageAnswer,
    responses={
        **keyed_errors(408, 413, 415),
        200: {"description": "Stored.", "headers": _HEADERS},
        202: _LATER,
        400: _REFUSED,
    },
    openapi_extra=_described(_ORDER, _PREFER, _KEY),
)
async def ingest_message(request: Request) -> Response:
    door = front_door(request)
    sent = b""

    def make(arrival: Arrival, body: bytes) -> NewDrop:
        nonlocal sent
        if len(lines := list(records(body))) != 1:
            raise Problem(
                400, f"The body must be one message, not {len(lines)}; send several to /ingest/batch."
            )
        sent = lines[0].raw
        return _drop(door, arrival, body, endpoint="message")

    def answer(receipt: Receipt, headers: dict[str, str]) -> Response:
        result = receipt.result or {}
        if "status" not in result:
            return outcome_response(door, receipt, headers)
        if result["status"] == "success":
            entity, identity = _identity(sent)
            body: dict[str, Any] = {
                "status": "success", "entity": entity, "id": identity, "timestamp": receipt.finished_at or receipt.received_at,
            }  # fmt: skip
            return _json(body, 200, headers)
        error = (result.get("errors") or [{}])[0]
        body = {
            "status": "error",
            "message": error.get("message") or result.get("message"),
            "entity": error.get("entity"),
            "line": sent.decode(errors="replace"),
        }
        return _json(body | {key: error[key] for key in ("field", "code") if key in error}, 400, headers)

    return await take_in(request, scopes=(NAME,), media_types=TEXT, make_drop=make, answer=answer)


@router.post(
    "/ingest/batch",
    summary="Ingest a batch of messages",
    description=(
        "Lines of any entities, in any order; rows may reference each other and what was accepted before. Lines that cannot be "
        "stored are listed and kept as rejects, the others are stored. Bodies may be compressed (gzip, zstd)."
    ),
    response_model=BatchAnswer,
    responses={
        **keyed_errors(408, 413, 415),
        200: {"description": "All stored.", "headers": _HEADERS},
        202: _LATER,
        207: {
            "model": BatchAnswer,
            "description": "Some stored; `errors` lists the others.",
            "headers": _HEADERS,
        },
        400: _REFUSED,
    },
    openapi_extra=_described(_ORDER + "\n", _PREFER, _KEY),
)
async def ingest_batch(
    request: Request,
    atomic: Annotated[bool, Query(description="All or nothing: one error, and no line is stored.")] = False,
    max_errors: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="More errors than this, and no line is stored.")
    ] = None,
) -> Response:
    door = front_door(request)
    limit = 0 if atomic else max_errors

    def make(arrival: Arrival, body: bytes) -> NewDrop:
        if next(records(body), None) is None:
            raise Problem(400, "The body has no message: every line is blank or a comment.")
        more = {} if limit is None else {"max_errors": str(limit)}
        return _drop(door, arrival, body, endpoint="batch", **more)

    def answer(receipt: Receipt, headers: dict[str, str]) -> Response:
        result = receipt.result or {}
        if "status" not in result:
            return outcome_response(door, receipt, headers)
        status = {"success": 200, "partial": 207}.get(result["status"], 400)
        return _json(result, status, headers)

    return await take_in(request, scopes=(NAME,), media_types=TEXT, make_drop=make, answer=answer)


Stream = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="Name of the stream, to go on with it; without one it gets a name, which `X-Stream-Id` tells.",
    ),
]
Channel = Annotated[
    str,
    Query(
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="One of several connections that send a stream in parallel.",
    ),
]


@router.post(
    "/ingest/stream",
    summary="Ingest a stream of messages",
    description=(
        "Lines of any entities in a body of any length. They land durably as they arrive, and events tell how far: "
        "`acknowledged` (lines and bytes that nothing can lose any more), `progress` (what became of them), `total` at the end. "
        "A line may reference any other of the stream: what it needs may come later. After a broken connection "
        "`GET …/ingest/stream/{stream}` says from where to go on. With `Prefer: respond-async` the answer is that "
        "position, once all that was sent is durable."
    ),
    response_class=Response,
    responses={
        **keyed_errors(400, 408, 409, 413, 415),
        200: {
            "description": "Events while the stream is being ingested.",
            "headers": {"X-Stream-Id": {"description": "Name of the stream.", **_TEXT}},
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
        202: {"model": StreamPosition, "description": "All that was sent is durable."},
    },
    openapi_extra=_described(_ORDER + "\n", _PREFER),
)
async def ingest_stream(
    request: Request,
    stream: Stream = None,
    channel: Channel = "0",
    offset: Annotated[
        int | None, Query(ge=0, le=2**62, description="Bytes of text acknowledged before.")
    ] = None,
    more: Annotated[bool, Query(description="The stream goes on in another request.")] = False,
    progress: Annotated[
        Literal["buffer", "line"], Query(description="An event per part, or also per line.")
    ] = "buffer",
) -> Response:
    door = front_door(request)
    arrival = await let_in(request, scopes=(NAME,), media_types=TEXT)
    coding = _coding(arrival)
    name = StreamName(stream or str(uuid7()), channel)
    after = await _acknowledged(door, arrival, name) if stream else Acknowledged()
    if (offset is not None and offset != after.bytes) or (after.ended):
        detail = (
            f"The stream {name.stream} has ended."
            if after.ended
            else f"The stream {name.stream} is acknowledged up to byte {after.bytes}, line {after.lines}; go on from there."
        )
        raise Problem(
            409, detail, acknowledged={"lines": after.lines, "bytes": after.bytes}, ended=after.ended
        )
    decode, check_end = decoder(coding)
    by_line = progress == "line"
    cutter = Cutter(name, after, **({"segment_bytes": LINES_EACH} if by_line else {}))
    intake = StreamIntake(
        door=door, arrival=arrival, receive=request.receive, cutter=cutter, decode=decode, check_end=check_end,
        partition=after.partition or day_of(name.stream, now=datetime.now(UTC)), more=more, by_line=by_line,
    )  # fmt: skip
    headers = {"X-Stream-Id": name.stream}
    waiting = waiting_for(request)
    if waiting.applied == "respond-async":
        await intake.take_in()
        position = {"stream": name.stream, "channel": channel, **intake.position(), "ended": not more}
        position |= {"unfinished": len(intake.receipts), "totals": {}}
        return _json(position, 202, headers | {"Preference-Applied": "respond-async"})
    return EventStream(intake.events(), headers)


@router.get(
    "/ingest/stream/{stream}",
    summary="How far a stream was acknowledged",
    description="Lines and bytes that are durable, and what became of them so far. A stream belongs to the key that sent it.",
    response_model=StreamPosition,
    responses=keyed_errors(404),
    openapi_extra={"security": SECURITY},
)
async def stream_position(request: Request, stream: str, channel: Channel = "0") -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, NAME)
    name = StreamName(stream, channel)
    known = await door.in_thread(
        lambda connection: (
            acknowledged(connection, principal=principal.name, name=name)
            if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", stream)
            else Acknowledged()
        )
    )
    if not known.parts:
        raise Problem(404, f"Nothing of a stream {stream[:100]} is known.")
    return json_response(
        {
            "stream": stream, "channel": channel, "lines": known.lines, "bytes": known.bytes, "ended": known.ended,
            "unfinished": known.unfinished, "totals": dict(known.totals or {}),
        }
    )  # fmt: skip


@router.get(
    "/stats",
    summary="How much was processed",
    description="Messages by entity and errors since the beginning. Needs the scope `entities` or `read`.",
    response_model=Statistics,
    responses=keyed_errors(),
    openapi_extra={"security": SECURITY},
)
async def statistics(request: Request) -> Response:
    door = front_door(request)
    await door.authenticate(request, NAME, "read")
    tally = await door.in_thread(_tally)
    uptime = time.time() - _STARTED
    return json_response(
        {
            "total_messages_processed": sum(processed for processed, _ in tally.values()),
            "messages_by_entity": {
                one.entity: tally.get(one.entity, (0, 0))[0] for one in defined_entities().entities
            },
            "errors": sum(failed for _, failed in tally.values()),
            "uptime_seconds": round(uptime, 3),
            "requests_per_second": round(_requests(door) / uptime, 3),
        }
    )


prefixed = APIRouter()
prefixed.include_router(router, prefix="/api/v1/entities")
_STARTED = time.time()


def _tally(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    if connection.scalar(sa.text("SELECT to_regclass('entities._tally')")) is None:
        return {}
    rows = connection.execute(sa.text("SELECT entity, processed, failed FROM entities._tally"))
    return {row.entity: (row.processed, row.failed) for row in rows}


def _requests(door: FrontDoor) -> float:
    return sum(
        sample.value
        for family in door.metrics.registry.collect()
        if family.name == "ingestion_http_requests"
        for sample in family.samples
        if sample.name.endswith("_total")
        and sample.labels["path"].removeprefix("/api/v1/entities").startswith(("/ingest/", "/stats"))
        and not sample.labels["path"].startswith("/api/v1/ingest/")
    )


async def _acknowledged(door: FrontDoor, arrival: Arrival, name: StreamName) -> Acknowledged:
    return await door.in_thread(
        lambda connection: acknowledged(connection, principal=arrival.principal.name, name=name)
    )


def _coding(arrival: Arrival) -> str:
    given = arrival.headers.get(b"content-encoding", b"identity").strip().lower().decode("latin-1")
    coding = {"": "identity", "x-gzip": "gzip"}.get(given, given)
    if coding not in {"identity", "gzip", "zstd"}:
        raise Problem(
            415,
            f"Content-Encoding must be one of {ENCODINGS}.",
            headers={"Accept-Encoding": ENCODINGS},
            errors=[error_item("header", "Content-Encoding", msg="not supported", type="content_encoding")],
        )
    return coding


def _drop(door: FrontDoor, arrival: Arrival, body: bytes, *, endpoint: str, **attributes: str) -> NewDrop:
    flow = door.flows[NAME]
    partition = flow.partition_of(datetime.now(UTC), None)
    return NewDrop(
        flow=NAME,
        partition=partition,
        lane=flow.lane_of(partition, uuid7()),
        principal=arrival.principal.name,
        body=body,
        records=lines_in(body),
        idempotency_key=arrival.idempotency_key,
        attributes={**arrival.attributes, "endpoint": endpoint, **attributes},
    )


def _identity(raw: bytes) -> tuple[str | None, Any]:
    read = read_line(defined_entities(), raw)
    if not isinstance(read, Row):
        return None, None
    entity = read.entity
    key = {
        name: int(value)
        if value is not None and entity.field(name).type in {"smallint", "integer", "bigint"}
        else value
        for name, value in zip(entity.names, read.values, strict=True)
        if name in entity.primary_key
    }
    return entity.entity, next(iter(key.values())) if len(key) == 1 else key


def _json(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    response = json_response(body)
    response.status_code = status
    response.headers.update(headers)
    return response
