"""`/api/v1/receipts/{id}/pause`, `resume`, `cancel`: what a client wants of a payload that it sent."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receipt_view import ReceiptView, receipt_json
from ingestion_assets.frontdoor.receipts import ReceiptId, own_receipt
from ingestion_assets.landing import wanted

router = APIRouter(prefix="/api/v1/receipts", tags=["receipts"])

_DOCUMENTED: dict[str, Any] = {
    "response_model": ReceiptView,
    "responses": {
        **keyed_errors(404, 409),
        202: {
            "model": ReceiptView,
            "description": "The run at work on it comes to it at its next safe point.",
        },
    },
    "openapi_extra": secured(),
}


@router.post(
    "/{receipt_id}/pause",
    operation_id="pauseReceipt",
    summary="Pause a payload",
    description=(
        "It is held until it is resumed: at once where no run works on it, else at the run's next safe point (202), from which it "
        "goes on later. A run without safe points finishes it."
    ),
    **_DOCUMENTED,
)
async def pause(request: Request, receipt_id: ReceiptId) -> Response:
    return await _ask(request, receipt_id, wanted.pause, "It is over, was cancelled, or its flow holds it.")


@router.post(
    "/{receipt_id}/resume",
    operation_id="resumeReceipt",
    summary="Have a paused payload go on",
    description="Also one that waits because a person cancelled its run. What its flow holds is confirmed at the flow's own address.",
    **_DOCUMENTED,
)
async def resume(request: Request, receipt_id: ReceiptId) -> Response:
    return await _ask(request, receipt_id, wanted.resume, "It is not paused.")


@router.post(
    "/{receipt_id}/cancel",
    operation_id="cancelReceipt",
    summary="Cancel a payload",
    description=(
        "It ends as `failed` with the code `cancelled`: at once where no run works on it, else at the run's next safe point (202). "
        "What was stored of it before stays. A run without safe points finishes it."
    ),
    **_DOCUMENTED,
)
async def cancel(request: Request, receipt_id: ReceiptId) -> Response:
    return await _ask(request, receipt_id, wanted.cancel, "It is over.")


async def _ask(
    request: Request, receipt_id: UUID, change: Callable[[sa.Connection, UUID], bool], why_not: str
) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    receipt = await own_receipt(door, principal, receipt_id)
    if receipt.principal != principal.name and not principal.may("admin"):
        raise Problem(
            403,
            "Only the key that sent a payload, or one with the scope admin, may change what becomes of it.",
        )
    if not await door.in_thread(lambda connection: change(connection, receipt.id)):
        raise Problem(409, f"That cannot be done to this payload. {why_not}")
    receipt = await own_receipt(door, principal, receipt_id)
    still_to_come = receipt.state == "claimed" and receipt.wanted is not None
    view = receipt_json(receipt, runs_url=door.settings.runs_url)
    return json_response(view, 202 if still_to_come else 200)
