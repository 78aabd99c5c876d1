"""The flow's endpoint, and a WebSocket of its own."""

import itertools
from datetime import UTC, datetime

import msgspec
from fastapi import APIRouter, Request, WebSocket
from starlette.responses import Response

from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receiving import Arrival, take_in
from ingestion_assets.frontdoor.websockets import admitted, opened
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets_tests.long_flow.flow import FLOW, NAME
from ingestion_assets_tests.long_flow.work import Payload

router = APIRouter(prefix="/api/v1/long-tests")
_numbers = itertools.count()


def _drop(arrival: Arrival, body: bytes) -> NewDrop:
    try:
        payload = msgspec.json.decode(body, type=Payload)
    except msgspec.MsgspecError as error:
        raise Problem(422, str(error)) from error
    partition = FLOW.partition_of(datetime.now(UTC), None)
    return NewDrop(
        flow=NAME, partition=partition, lane=FLOW.lane_of(partition, next(_numbers)), principal=arrival.principal.name,
        body=body, records=payload.steps, attributes=arrival.attributes, idempotency_key=arrival.idempotency_key,
    )  # fmt: skip


@router.post("")
async def take(request: Request) -> Response:
    return await take_in(request, flow=NAME, scopes=(NAME,), make_drop=_drop, at_once_above=0)


@router.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Says what it hears, to whom the flow lets in."""
    principal = await admitted(websocket, NAME)
    async with opened(websocket, principal):
        async for text in websocket.iter_text():
            await websocket.send_text(text)


HTTP = FlowHttp(routers=[router])
