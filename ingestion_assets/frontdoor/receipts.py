"""`/api/v1/receipts`: what became of accepted payloads."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import settled, waiting_for
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import header_parameter, keyed_errors, secured
from ingestion_assets.frontdoor.paging import IdCursor, NumberCursor, id_cursor, listed, number_cursor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receipt_view import ReceiptPage, ReceiptView, RecordOutcomePage, receipt_json
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.flows import FLOW_NAME

router = APIRouter(prefix="/api/v1/receipts", tags=["receipts"])

ReceiptId = Annotated[
    UUID, Path(description="The receipt's id.", examples=["0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"])
]


@router.get(
    "",
    operation_id="listReceipts",
    summary="List receipts",
    description="Your payloads, newest first; with the scope `read` or `admin`, everybody's.",
    response_model=ReceiptPage,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def list_receipts(
    request: Request,
    flow: Annotated[
        str | None, Query(max_length=64, pattern=FLOW_NAME, description="Only of this flow.")
    ] = None,
    state: Annotated[
        Literal["landed", "claimed", "held", "done", "failed"] | None,
        Query(description="Only in this state."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one page.")] = 50,
    cursor: IdCursor = None,
) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    position = id_cursor(cursor)
    async with ledger_needed():
        page = await ledger.list_receipts(
            door.async_engine,
            flow=flow,
            state=state,
            principal=None if principal.may("read") else principal.name,
            limit=limit,
            cursor=position,
        )
    items = [receipt_json(one, runs_url=door.settings.runs_url) for one in page.items]
    return listed(items, UUID(page.next) if page.next else None)


@router.get(
    "/{receipt_id}",
    operation_id="readReceipt",
    summary="Read a receipt",
    description=(
        "State, times, run and, once done, the flow's result body. With `Prefer: wait=N` the answer waits up to N seconds "
        "for the outcome. Receipts of other keys are not found, except with the scope `read` or `admin`, or, where one payload may stand for "
        "what several keys have sent, as one of a repository does, with the scope that it was sent with."
    ),
    response_model=ReceiptView,
    responses=keyed_errors(404),
    openapi_extra=secured(
        header_parameter("Prefer", "How long to wait for the outcome (RFC 7240).", "wait=10")
    ),
)
async def read_receipt(request: Request, receipt_id: ReceiptId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    receipt = await own_receipt(door, principal, receipt_id)
    waiting = waiting_for(request, default_s=0)
    if receipt.state == "landed":
        door.waker.asked_after(receipt.flow, receipt.lane)
    receipt = await settled(request, receipt, waiting.seconds)
    headers = {"Preference-Applied": waiting.applied} if waiting.applied else {}
    return json_response(receipt_json(receipt, runs_url=door.settings.runs_url), headers=headers)


@router.get(
    "/{receipt_id}/records",
    operation_id="listRecordOutcomes",
    summary="List the outcome of every record",
    description="Stored, duplicate or rejected (with a stable code), in the order of the payload. Empty until done.",
    response_model=RecordOutcomePage,
    responses=keyed_errors(404),
    openapi_extra=secured(),
)
async def list_records(
    request: Request,
    receipt_id: ReceiptId,
    limit: Annotated[int, Query(ge=1, le=5000, description="Most items in one page.")] = 1000,
    cursor: NumberCursor = None,
) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    offset = number_cursor(cursor)
    receipt = await own_receipt(door, principal, receipt_id)
    async with ledger_needed():
        found = await ledger.record_outcomes(door.async_engine, receipt.id, offset=offset, limit=limit + 1)
    outcomes = found or []
    following = offset + limit if len(outcomes) > limit else None
    return listed(outcomes[:limit], following)


async def own_receipt(door: FrontDoor, principal: Principal, receipt_id: UUID) -> Receipt:
    """A receipt that these may read. Raises `Problem` 404, 503."""
    async with ledger_needed():
        receipt = await door.receipts.find(receipt_id)
    if receipt is None or not _may_read(door, principal, receipt):
        raise Problem(404, "There is no such receipt.")
    return receipt


def _may_read(door: FrontDoor, principal: Principal, receipt: Receipt) -> bool:
    if receipt.principal == principal.name or principal.may("read"):
        return True
    flow = door.flows.get(receipt.flow)
    return (
        flow is not None
        and flow.receipts_shared
        and flow.scope is not None
        and principal.may(flow.scope.name)
    )
