"""Streams over HTTP: taken in as they arrive, resumed where they were acknowledged."""

import re
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingestion_assets.entities.flow import NAME
from ingestion_assets.entities.line_schemas import (
    ANY_LINES,
    ORDER,
    PLAIN_TEXT,
    STRING,
)
from ingestion_assets.entities.schema import StreamPosition
from ingestion_assets.entities.stream_intake import StreamIntake
from ingestion_assets.entities.streams import (
    Acknowledged,
    Cutter,
    StreamName,
    acknowledged,
    day_of,
    progress,
)
from ingestion_assets.frontdoor.answers import waiting_for
from ingestion_assets.frontdoor.decoding import Decoder
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.event_stream import EventStream
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import PREFER, events, keyed_errors, secured, takes
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receiving import let_in
from ingestion_assets.frontdoor.request_headers import content_coding
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.landing.late_segments import register_late

LINES_EACH = 64 * 1024
"""Bytes of a part where every line gets an event."""

router = APIRouter(tags=[NAME])

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
    name="ingest_entity_stream",
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
        200: events(
            "Events while the stream is being ingested.",
            "`data` is a JSON object with `type` (or, of a single line, `status`), `id` a count of lines.",
            headers={"X-Stream-Id": {"description": "Name of the stream.", **STRING}},
        ),
        202: {"model": StreamPosition, "description": "All that was sent is durable."},
    },
    openapi_extra=takes(ANY_LINES, PREFER, example=ORDER + "\n", media_type="text/plain"),
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
    arrival = await let_in(request, flow=NAME, scopes=(NAME,), media_types=PLAIN_TEXT)
    decoder = Decoder(content_coding(arrival.headers))
    name = StreamName(stream or str(door.clock.new_id()), channel)
    after = await _acknowledged(door, arrival.principal, name) if stream else Acknowledged()
    if (offset is not None and offset != after.bytes) or (after.ended):
        detail = (
            f"The stream {name.stream} has ended."
            if after.ended
            else f"The stream {name.stream} is acknowledged up to byte {after.bytes}, line {after.lines}; go on from there."
        )
        raise Problem(
            409, detail, acknowledged={"lines": after.lines, "bytes": after.bytes}, ended=after.ended
        )
    by_line = progress == "line"
    cutter = Cutter(name, after, **({"segment_bytes": LINES_EACH} if by_line else {}))
    intake = StreamIntake(
        door=door, arrival=arrival, receive=request.receive, cutter=cutter, decoder=decoder,
        partition=after.partition or day_of(name.stream, now=door.clock.now()), more=more, by_line=by_line,
    )  # fmt: skip
    headers = {"X-Stream-Id": name.stream}
    waiting = waiting_for(request)
    if waiting.applied == "respond-async":
        await intake.take_in()
        position = {"stream": name.stream, "channel": channel, **intake.position(), "ended": not more}
        position |= {"unfinished": intake.parts, "totals": {}}
        return json_response(position, 202, headers=headers | {"Preference-Applied": "respond-async"})
    return EventStream(intake.events(), headers)


@router.get(
    "/ingest/stream/{stream}",
    name="read_entity_stream",
    summary="How far a stream was acknowledged",
    description="Lines and bytes that are durable, and what became of them so far. A stream belongs to the key that sent it.",
    response_model=StreamPosition,
    responses=keyed_errors(404),
    openapi_extra=secured(),
)
async def stream_position(request: Request, stream: str, channel: Channel = "0") -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, NAME)
    name = StreamName(stream, channel)
    well_formed = re.fullmatch(r"[A-Za-z0-9._-]{1,100}", stream)
    known = await _acknowledged(door, principal, name) if well_formed else Acknowledged()
    if not known.parts:
        raise Problem(404, f"Nothing of a stream {stream[:100]} is known.")
    unfinished, totals = await door.in_thread(
        lambda connection: progress(connection, principal=principal.name, name=name, parts=known.parts)
    )
    if unfinished and known.partition:  # somebody waits for it: its lane does not rest
        door.waker.asked_after(NAME, door.flows[NAME].lane_of(known.partition, 0))
    return json_response(
        {
            "stream": stream, "channel": channel, "lines": known.lines, "bytes": known.bytes, "ended": known.ended,
            "unfinished": unfinished, "totals": totals,
        }
    )  # fmt: skip


async def _acknowledged(door: FrontDoor, principal: Principal, name: StreamName) -> Acknowledged:
    """How far the stream is on durable storage, parts that the ledger doesn't know yet or has lost included."""

    def look(connection: sa.Connection) -> Acknowledged:
        register_late(door.engine, door.storage)
        return acknowledged(connection, principal=principal.name, name=name)

    return await door.in_thread(look)
