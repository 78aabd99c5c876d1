"""The way in that every ingesting endpoint shares: let in, read, land, then wait or not, answer."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import TracebackType
from uuid import UUID

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from ingestion_assets.frontdoor import preferences
from ingestion_assets.frontdoor.budget import Hold
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.protocol import exchange_of
from ingestion_assets.frontdoor.receipt_view import receipt_json
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.frontdoor.waiting import TERMINAL
from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import (
    Accepted,
    IdempotencyConflictError,
    LandingUnavailableError,
    NewDrop,
    Receipt,
    UncertainLandingError,
)

JSON = frozenset({"application/json"})
_encode = msgspec.json.Encoder().encode
_KEPT = {b"content-type": "content_type", b"user-agent": "user_agent", b"x-client-version": "client_version"}


class Arrival(msgspec.Struct, frozen=True):
    """A request that was let in: who sent it, its headers, and the small facts kept beside its payload."""

    principal: Principal
    headers: dict[bytes, bytes]
    idempotency_key: str | None
    attributes: dict[str, str]


MakeDrop = Callable[[Arrival, bytes], NewDrop]
Answer = Callable[[Receipt, dict[str, str]], Response]


async def let_in(
    request: Request, *, flow: str, scopes: tuple[str, ...], media_types: frozenset[str]
) -> Arrival:
    """Who sends this to the flow and what comes with it, before the body is read. Raises `Problem`."""
    door = front_door(request)
    principal = await door.authenticate(request, *scopes)
    headers = request.scope["state"]["headers"]
    check_media_type(headers, media_types)
    arrival = Arrival(
        principal,
        headers,
        preferences.idempotency_key(_header(headers, b"idempotency-key")),
        _attributes(request, headers),
    )
    door.backlog.admit(flow)
    return arrival


def waiting_for(request: Request) -> preferences.Waiting:
    """How long this request waits for the outcome."""
    settings = front_door(request).settings
    prefer = _header(request.scope["state"]["headers"], b"prefer")
    return preferences.waiting(prefer, settings.default_wait_s, settings.max_wait_s)


async def take_in(
    request: Request,
    *,
    flow: str,
    scopes: tuple[str, ...],
    media_types: frozenset[str] = JSON,
    make_drop: MakeDrop,
    at_once_above: int | None = None,
    answer: Answer | None = None,
) -> Response:
    """Let a request in, take its payload and answer for it: `let_in`, then `take`."""
    arrival = await let_in(request, flow=flow, scopes=scopes, media_types=media_types)
    return await take(request, arrival, make_drop=make_drop, at_once_above=at_once_above, answer=answer)


async def take(
    request: Request,
    arrival: Arrival,
    *,
    make_drop: MakeDrop,
    at_once_above: int | None = None,
    answer: Answer | None = None,
) -> Response:
    """Take in the payload of a request that was let in, and answer for it.

    Payloads of more than `at_once_above` records are answered with their receipt at once, unless the client asks to wait.
    `make_drop` turns the decoded body into a drop, or raises `Problem`; it is called in a thread. `answer` says what
    became of the payload where that is not `outcome_response`. Raises `Problem` for everything that the contract
    names; `ClientDisconnect` when the sender went away.
    """
    door = front_door(request)
    waiting = waiting_for(request)
    answer = answer or partial(outcome_response, door)
    if waiting.seconds == 0:
        return await _take(door, request, arrival, make_drop, waiting, at_once_above, answer)

    with door.waker.waiter() as waiter:

        def make_and_wait(arrival: Arrival, body: bytes) -> NewDrop:
            drop = make_drop(arrival, body)
            if _waits(waiting, drop.records, at_once_above):
                waiter.waits_for(drop.flow, drop.lane)
            return drop

        return await _take(door, request, arrival, make_and_wait, waiting, at_once_above, answer)


def _waits(waiting: preferences.Waiting, records: int, at_once_above: int | None) -> bool:
    return waiting.seconds > 0 and (
        waiting.applied is not None or at_once_above is None or records <= at_once_above
    )


async def _take(
    door: FrontDoor,
    request: Request,
    arrival: Arrival,
    make_drop: MakeDrop,
    waiting: preferences.Waiting,
    at_once_above: int | None,
    answer: Answer,
) -> Response:
    accepted = await _land(door, request, arrival, make_drop, early=waiting.seconds == 0)
    door.metrics.count_accepted(accepted.header.flow)
    known = await _known(door, accepted) if accepted.replayed else None
    if known is not None and known.state in TERMINAL and waiting.applied != "respond-async":
        return answer(known, _answer_headers(accepted, waiting.applied))
    if known is not None and waiting.seconds > 0:
        door.waker.asked_after(known.flow, known.lane)
    if accepted.registered and _waits(waiting, accepted.header.records, at_once_above):
        outcome = await _outcome(door, request.receive, accepted, waiting.seconds)
        if outcome is not None:
            return answer(outcome, _answer_headers(accepted, waiting.applied))
    if known is not None:
        located = _answer_headers(accepted, waiting.applied) | {"Location": receipt_url(known.id)}
        body = msgspec.json.encode(receipt_json(known, runs_url=door.settings.runs_url))
        return Response(body, 202, media_type="application/json", headers=located)
    return _LandedResponse(accepted, waiting.applied)


class _LandedResponse(Response):
    """The receipt of a payload that is durable. Made where throughput counts: its headers are bytes from the start."""

    def __init__(self, accepted: Accepted, applied: str | None) -> None:
        header = accepted.header
        receipt_id = _encode(accepted.id)[1:-1].decode()  # a sixth of what `str` takes
        address = receipt_url(receipt_id)
        self.status_code = 202
        self.background = None
        self.body = _encode(
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


async def _land(
    door: FrontDoor, request: Request, arrival: Arrival, make_drop: MakeDrop, *, early: bool
) -> Accepted:
    """Read the body and land it; the body's memory is given back on return. `early`: nobody waits for the outcome."""
    with door.budget.hold() as hold:
        body = await received(request, hold)
        make = partial(make_drop, arrival, body)
        with intake_refusals:
            keyed = arrival.idempotency_key is not None
            return await door.intake.accept_made(make, size=len(body), keyed=keyed, early=early)


async def received(request: Request, hold: Hold) -> bytes:
    """The decoded body, counted against `hold`. Raises `Problem` 400, 408, 413, 415, 503; `ClientDisconnect`."""
    state = request.scope["state"]
    exchange = exchange_of(request.receive)
    arrived = None
    if exchange is not None and not exchange.more_body:
        arrived, exchange.body = bytes(exchange.body), bytearray()
    return await front_door(request).bodies.read(request.receive, state["headers"], hold, arrived=arrived)


class _IntakeRefusals:
    """Turns what the intake cannot take into the 422 or 503 that says so."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, IdempotencyConflictError):
            raise Problem(
                422,
                "This Idempotency-Key was used before with another body.",
                errors=[
                    error_item(
                        "header", "Idempotency-Key", msg="used with another body", type="idempotency_conflict"
                    )
                ],
                receipt=str(error),
            ) from error
        if isinstance(error, UncertainLandingError):
            raise Problem(
                503,
                "landing storage failed while this payload was made durable: it is not known whether it was accepted. Where it was "
                "sent with an Idempotency-Key, repeating it with the same key is safe: it is taken once.",
                headers={"Retry-After": "5"},
                dependency="landing",
                accepted="unknown",
            ) from error
        if isinstance(error, LandingUnavailableError):
            raise Problem(
                503,
                "landing storage cannot take payloads now. Nothing was accepted; try again later.",
                headers={"Retry-After": "5"},
                dependency="landing",
            ) from error


intake_refusals = _IntakeRefusals()


def outcome_response(door: FrontDoor, receipt: Receipt, headers: dict[str, str]) -> Response:
    """The flow's result body for a drop that is done; 422 for one that failed for good; the receipt of one that is held."""
    if receipt.state == "held":
        view = receipt_json(receipt, runs_url=door.settings.runs_url)
        located = headers | {"Location": receipt_url(receipt.id)}
        return Response(msgspec.json.encode(view), 202, media_type="application/json", headers=located)
    if receipt.state == "failed":
        errors = [
            error_item(
                "body",
                msg=str(item.get("reason") or item.get("msg") or item),
                type=str(item.get("code", "failed")),
            )
            for item in receipt.errors or ()
        ]
        detail = errors[0]["msg"] if errors else "The payload could not be processed."
        return Problem(
            422, f"The payload was kept but could not be processed: {detail}", headers=headers, errors=errors,
            receipt=receipt_json(receipt, runs_url=door.settings.runs_url),
        ).response()  # fmt: skip
    return Response(msgspec.json.encode(receipt.result), 200, media_type="application/json", headers=headers)


async def _known(door: FrontDoor, accepted: Accepted) -> Receipt | None:
    async with ledger_needed():
        return await ledger.receipt(door.async_engine, accepted.id)


async def _outcome(door: FrontDoor, receive: Receive, accepted: Accepted, seconds: float) -> Receipt | None:
    """The outcome, unless it takes too long. Raises `ClientDisconnect` when nobody waits for it any more."""
    outcome = asyncio.ensure_future(
        door.finished.outcome(accepted.id, timeout_s=seconds, known=accepted.replayed)
    )
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({outcome, gone}, return_when=asyncio.FIRST_COMPLETED)
        if outcome.done():
            return outcome.result()
        raise ClientDisconnect
    finally:
        for task in (outcome, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _answer_headers(accepted: Accepted, applied: str | None) -> dict[str, str]:
    headers = {"X-Receipt-Id": str(accepted.id)}
    if applied:
        headers["Preference-Applied"] = applied
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return headers


def receipt_url(drop_id: UUID | str) -> str:
    """Where a receipt is read."""
    return f"/api/v1/receipts/{drop_id}"


def check_media_type(headers: Mapping[bytes, bytes], allowed: frozenset[str] = JSON) -> None:
    """Raises `Problem` 415 for a `Content-Type` that is not `allowed`."""
    _check_media_type(headers.get(b"content-type", b""), allowed)


@lru_cache(64)
def _check_media_type(content_type: bytes, allowed: frozenset[str]) -> None:
    given = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    structured = (
        given.startswith("application/") and given.endswith("+json") and "application/json" in allowed
    )
    if given not in allowed and not structured:
        raise Problem(
            415,
            f"Content-Type must be {' or '.join(sorted(allowed))}.",
            errors=[error_item("header", "Content-Type", msg="not supported", type="media_type")],
        )


def _header(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _attributes(request: Request, headers: dict[bytes, bytes]) -> dict[str, str]:
    kept = {
        name: headers[header][:256].decode("latin-1").replace("\0", "")
        for header, name in _KEPT.items()
        if header in headers
    }
    client = request.scope.get("client")
    if client:
        kept["remote_address"] = client[0]
    return kept
