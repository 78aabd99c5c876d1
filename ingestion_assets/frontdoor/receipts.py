"""`/api/v1/receipts`: what became of accepted payloads."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ingestion_assets.frontdoor import preferences
from ingestion_assets.frontdoor.cursors import (
    IdCursor,
    NumberCursor,
    encode_cursor,
    id_cursor,
    number_cursor,
)
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter, keyed_errors
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receipt_view import ReceiptPage, ReceiptView, RecordOutcomePage, receipt_json
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.frontdoor.waiting import TERMINAL
from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import Receipt

router = APIRouter(prefix="/api/v1/receipts", tags=["receipts"])

ReceiptId = Annotated[
    UUID, Path(description="The receipt's id.", examples=["0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"])
]
_SECURED: dict[str, Any] = {"security": SECURITY}


@router.get(
    "",
    operation_id="listReceipts",
    summary="List receipts",
    description="Your payloads, newest first; with the scope `read` or `admin`, everybody's.",
    response_model=ReceiptPage,
    responses=keyed_errors(),
    openapi_extra=_SECURED,
)
async def list_receipts(
    request: Request,
    flow: Annotated[
        str | None, Query(max_length=64, pattern="^[a-z_]+$", description="Only of this flow.")
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
    return json_response({"items": items, "next": encode_cursor(page.next and UUID(page.next))})


@router.get(
    "/{receipt_id}",
    operation_id="readReceipt",
    summary="Read a receipt",
    description=(
        "State, times, run and, once done, the flow's result body. With `Prefer: wait=N` the answer waits up to N seconds "
        "for the outcome. Receipts of other keys are not found, except with the scope `read` or `admin`."
    ),
    response_model=ReceiptView,
    responses=keyed_errors(404),
    openapi_extra={
        **_SECURED,
        "parameters": [header_parameter("Prefer", "How long to wait for the outcome (RFC 7240).", "wait=10")],
    },
)
async def read_receipt(request: Request, receipt_id: ReceiptId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    receipt = await own_receipt(door, principal, receipt_id)
    waiting = preferences.waiting(request.headers.get("prefer"), default_s=0, max_s=door.settings.max_wait_s)
    if receipt.state == "landed":
        door.waker.asked_after(receipt.flow, receipt.lane)
    if waiting.seconds > 0 and receipt.state not in TERMINAL:
        with door.waker.waiter() as waiter:
            waiter.waits_for(receipt.flow, receipt.lane)
            outcome = await door.finished.outcome(receipt_id, timeout_s=waiting.seconds, known=True)
        receipt = outcome or await own_receipt(door, principal, receipt_id)
    headers = {"Preference-Applied": waiting.applied} if waiting.applied else {}
    return json_response(receipt_json(receipt, runs_url=door.settings.runs_url), headers)


@router.get(
    "/{receipt_id}/records",
    operation_id="listRecordOutcomes",
    summary="List the outcome of every record",
    description="Stored, duplicate or rejected (with a stable code), in the order of the payload. Empty until done.",
    response_model=RecordOutcomePage,
    responses=keyed_errors(404),
    openapi_extra=_SECURED,
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
    return json_response({"items": outcomes[:limit], "next": encode_cursor(following)})


async def own_receipt(door: FrontDoor, principal: Principal, receipt_id: UUID) -> Receipt:
    """A receipt that these may read. Raises `Problem` 404, 503."""
    async with ledger_needed():
        receipt = await door.late_rows.receipt(receipt_id)
    if receipt is None or (receipt.principal != principal.name and not principal.may("read")):
        raise Problem(404, "There is no such receipt.")
    return receipt


def json_response(body: object, headers: dict[str, str] | None = None) -> Response:
    """JSON as msgspec writes it (ids and times included)."""
    return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)
