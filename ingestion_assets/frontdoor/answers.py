"""Answers that endpoints share: the receipt of a payload, its outcome, and how long a request waits for that.

Problems are not here: they are raised (`problems`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.json_response import encode, json_response
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receipt_view import receipt_json, receipt_url
from ingestion_assets.frontdoor.request_headers import Waiting, waiting
from ingestion_assets.frontdoor.waiting import TERMINAL
from ingestion_assets.landing.drops import Accepted, Receipt

Value = TypeVar("Value")
Answer = Callable[[Receipt, dict[str, str]], Response]
"""Says what became of a payload: by its receipt, and with the headers that every such answer has."""


class LandedResponse(Response):
    """The receipt of a payload that is durable. Made where throughput counts: its headers are bytes from the start."""

    def __init__(self, accepted: Accepted, applied: str | None) -> None:
        header = accepted.header
        receipt_id = encode(accepted.id)[1:-1].decode()  # a sixth of what `str` takes
        address = receipt_url(receipt_id)
        self.status_code = 202
        self.background = None
        self.body = encode(
            {
                "id": receipt_id,
                "state": "landed",
                "flow": header.flow,
                "partition": header.partition,
                "subject": header.subject,
                "records": header.records,
                "size_bytes": header.size,
                "received_at": header.received_at,
                "url": address,
                "registered": accepted.registered,
            }
        )
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
            (b"x-receipt-id", receipt_id.encode()),
            (b"location", address.encode()),
        ]
        if applied:
            self.raw_headers.append((b"preference-applied", applied.encode()))
        if accepted.replayed:
            self.raw_headers.append((b"idempotent-replayed", b"true"))


def answer_headers(receipt_id: UUID, *, applied: str | None, replayed: bool = False) -> dict[str, str]:
    """The headers of an answer for a payload."""
    headers = {"X-Receipt-Id": str(receipt_id)}
    if applied:
        headers["Preference-Applied"] = applied
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return headers


def receipt_response(door: FrontDoor, receipt: Receipt, headers: dict[str, str]) -> Response:
    """202: the receipt of a payload whose outcome is still to come."""
    view = receipt_json(receipt, runs_url=door.settings.runs_url)
    return json_response(view, 202, headers=headers | {"Location": receipt_url(receipt.id)})


def outcome_response(door: FrontDoor, receipt: Receipt, headers: dict[str, str]) -> Response:
    """The flow's result body for a drop that is done; 422 for one that failed for good; the receipt of one that is held."""
    if receipt.state == "held":
        return receipt_response(door, receipt, headers)
    if receipt.state == "failed":
        errors = [_failure(item) for item in receipt.errors or ()]
        detail = errors[0]["msg"] if errors else "The payload could not be processed."
        return Problem(
            422, f"The payload was kept but could not be processed: {detail}", headers=headers, errors=errors,
            receipt=receipt_json(receipt, runs_url=door.settings.runs_url),
        ).response()  # fmt: skip
    return json_response(receipt.result, headers=headers)


def _failure(item: dict[str, Any]) -> dict[str, Any]:
    said = str(item.get("reason") or item.get("msg") or item)
    return error_item("body", msg=said, type=str(item.get("code", "failed")))


def waiting_for(request: Request, *, default_s: float | None = None) -> Waiting:
    """How long this request waits for the outcome; `default_s`, or what the settings say, where it does not say."""
    settings = front_door(request).settings
    prefer = request.scope["state"]["headers"].get(b"prefer")
    return waiting(prefer, settings.default_wait_s if default_s is None else default_s, settings.max_wait_s)


async def outcome_or_receipt(
    request: Request, receipt: Receipt, wait: Waiting, *, answer: Answer | None = None, replayed: bool = False
) -> Response:  # fmt: skip
    """What became of a payload that was there before, if that is known within the time that the request waits; else its receipt."""
    door = front_door(request)
    headers = answer_headers(receipt.id, applied=wait.applied, replayed=replayed)
    if wait.seconds > 0 and receipt.state == "landed":
        door.waker.asked_after(receipt.flow, receipt.lane)
    if wait.applied != "respond-async":
        receipt = await settled(request, receipt, wait.seconds)
        if receipt.state in TERMINAL:
            return outcome_response(door, receipt, headers) if answer is None else answer(receipt, headers)
    return receipt_response(door, receipt, headers)


async def settled(request: Request, receipt: Receipt, seconds: float) -> Receipt:
    """The receipt of a payload that was there before: as it is once nothing more comes by itself, or after `seconds`.

    Its lane does not rest meanwhile. Raises `Problem` 503; `ClientDisconnect` when nobody waits for it any more.
    """
    if seconds <= 0 or receipt.state in TERMINAL:
        return receipt
    door = front_door(request)
    with door.waker.demand() as demand:
        demand.add(receipt.flow, receipt.lane)
        outcome = await wait_for_outcome(request, receipt.id, seconds, known=True)
    if outcome is not None:
        return outcome
    async with ledger_needed():
        return await door.receipts.find(receipt.id) or receipt


async def wait_for_outcome(
    request: Request, drop_id: UUID, seconds: float, *, known: bool = False
) -> Receipt | None:
    """The outcome, unless it takes too long. `known`: the drop was there before, so that it may be finished already.

    Raises `ClientDisconnect` when nobody waits for it any more.
    """

    async def gone() -> None:
        await disconnected(request.receive)
        raise ClientDisconnect

    finished = front_door(request).finished
    return await unless(gone(), finished.outcome(drop_id, timeout_s=seconds, known=known))


async def unless(event: Awaitable[object], awaited: Awaitable[Value]) -> Value | None:
    """What is awaited, or None where `event` happens before; what that raises is raised."""
    tasks = asyncio.ensure_future(awaited), asyncio.ensure_future(event)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        tasks[1].result()
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone away; what it still sends is passed over."""
    while (await receive())["type"] != "http.disconnect":
        pass
