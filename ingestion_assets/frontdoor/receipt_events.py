"""`/api/v1/receipts/{id}/events`: a receipt and its progress as they change, as Server-Sent Events and over a WebSocket.

An event is the whole receipt, so that a client that comes again, or is slow, is up to date with the next one.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request, WebSocket
from starlette.responses import Response
from starlette.types import Receive

from ingestion_assets.frontdoor.answers import disconnected
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.event_stream import EventStream, event_bytes
from ingestion_assets.frontdoor.open_streams import until_gone
from ingestion_assets.frontdoor.openapi import events, keyed_errors, secured
from ingestion_assets.frontdoor.receipt_view import receipt_json
from ingestion_assets.frontdoor.receipts import ReceiptId, own_receipt
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.frontdoor.waiting import OVER, version
from ingestion_assets.frontdoor.websockets import admitted, client_gone, opened
from ingestion_assets.landing.drops import Receipt

router = APIRouter(prefix="/api/v1/receipts", tags=["streams"])

KEEP_ALIVE_S = 15.0
RETRY_MS = 1000

Ticket = Annotated[
    str | None,
    Query(max_length=128, description="A ticket, where no header can be set (a page's `EventSource`)."),
]
Seen = Annotated[
    str | None, Query(max_length=64, description="Id of the last event seen, where no header can be set.")
]


@router.get(
    "/{receipt_id}/events",
    operation_id="followReceipt",
    summary="Follow a receipt",
    description=(
        "Server-Sent Events: an event `receipt` with the receipt at first and at each change of it or of its `progress`, until it is "
        "done or failed. `Last-Event-ID` leaves out what was seen; 204 says that nothing more comes. The same address speaks "
        'WebSocket, with messages `{"id": …, "receipt": {…}}`.'
    ),
    response_class=Response,
    responses={
        **keyed_errors(404),
        200: events("The events.", "`data` is the receipt, `id` goes into `Last-Event-ID`."),
        204: {"description": "The receipt's end was seen before."},
    },
    openapi_extra=secured(),
)
async def follow_receipt(
    request: Request,
    receipt_id: ReceiptId,
    ticket: Ticket = None,  # noqa: ARG001 - `admitted` reads it
    last_event_id: Seen = None,
    last_event_id_header: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Id of the last event seen.")
    ] = None,
) -> Response:
    door = front_door(request)
    principal = await admitted(request)
    receipt = await own_receipt(door, principal, receipt_id)
    seen = last_event_id_header or last_event_id
    if receipt.state in OVER and version(receipt) == seen:
        return Response(status_code=204)
    if request.scope["state"].get("head"):
        return Response(media_type="text/event-stream")
    door.streams.check(principal.name)
    return EventStream(_event_stream(door, principal, receipt, seen, request.receive), {})


async def _event_stream(
    door: FrontDoor, principal: Principal, receipt: Receipt, seen: str | None, receive: Receive
) -> AsyncIterator[bytes]:
    async with door.streams.one_more(principal.name):
        yield b"retry: %d\n\n" % RETRY_MS
        async with aclosing(until_gone(disconnected(receive), _changes(door, receipt, seen))) as changes:
            async for change in changes:
                if change is None:
                    yield b": nothing new\n\n"
                else:
                    yield event_bytes(_view(door, change), number=version(change), name="receipt")


@router.websocket("/{receipt_id}/events")
async def follow_receipt_by_websocket(
    websocket: WebSocket,
    receipt_id: ReceiptId,
    ticket: Ticket = None,  # noqa: ARG001
    last_event_id: Seen = None,
) -> None:
    door = front_door(websocket)
    principal = await admitted(websocket)
    receipt = await own_receipt(door, principal, receipt_id)
    async with (
        opened(websocket, principal),
        aclosing(until_gone(client_gone(websocket), _changes(door, receipt, last_event_id))) as changes,
    ):
        async for change in changes:
            if change is not None:  # pings tell that the connection lives
                message = {"id": version(change), "receipt": _view(door, change)}
                await websocket.send_text(msgspec.json.encode(message).decode())


async def _changes(
    door: FrontDoor, receipt: Receipt, seen: str | None
) -> AsyncGenerator[Receipt | None, None]:
    with door.waker.demand() as demand:
        demand.add(receipt.flow, receipt.lane)
        async with aclosing(door.finished.follow(receipt.id, seen=seen, quiet_s=KEEP_ALIVE_S)) as changes:
            async for change in changes:
                yield change


def _view(door: FrontDoor, receipt: Receipt) -> dict[str, Any]:
    return receipt_json(receipt, runs_url=door.settings.runs_url)
