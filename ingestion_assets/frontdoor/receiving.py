"""The way in that every ingesting endpoint shares: who sends, what comes, onto durable storage. What is answered: `answers`."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import (
    Answer,
    LandedResponse,
    answer_headers,
    outcome_or_receipt,
    outcome_response,
    wait_for_outcome,
    waiting_for,
)
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.intake_refusals import intake_refusals
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.request_headers import (
    JSON,
    Waiting,
    check_media_type,
    facts_of,
    idempotency_key,
)
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import (
    Accepted,
    NewDrop,
    Receipt,
)
from ingestion_assets.landing.storage import ANSWERS_WITHIN_S

LOOK_S = 1.0  # how long the ledger is waited for where somebody has waited already


class Arrival(msgspec.Struct, frozen=True):
    """A request that was let in: who sent it, its headers, and the small facts kept beside its payload."""

    principal: Principal
    headers: dict[bytes, bytes]
    idempotency_key: str | None
    attributes: dict[str, str]


MakeDrop = Callable[[Arrival, bytes], NewDrop]


async def let_in(
    request: Request, *, flow: str, scopes: tuple[str, ...], media_types: frozenset[str]
) -> Arrival:
    """Who sends this to the flow and what comes with it, before the body is read. Raises `Problem`."""
    door = front_door(request)
    principal = await door.authenticate(request, *scopes)
    headers = request.scope["state"]["headers"]
    check_media_type(headers, media_types)
    key = headers.get(b"idempotency-key")
    arrival = Arrival(
        principal,
        headers,
        None if key is None else idempotency_key(key.decode("latin-1")),
        facts_of(headers, client=request.scope.get("client")),
    )
    door.backlog.admit(flow)
    return arrival


def new_drop(
    request: Request,
    arrival: Arrival,
    body: bytes,
    *,
    flow: str,
    records: int,
    number: int = 0,
    attributes: Mapping[str, str] | None = None,
) -> NewDrop:
    """The payload of a request as a drop of this moment's partition; `number` chooses among its lanes."""
    door = front_door(request)
    contract = door.flows[flow]
    partition = contract.partition_of(door.clock.now(), None)
    return NewDrop(
        flow=flow,
        partition=partition,
        lane=contract.lane_of(partition, number),
        principal=arrival.principal.name,
        body=body,
        records=records,
        idempotency_key=arrival.idempotency_key,
        attributes={**arrival.attributes, **(attributes or {})},
    )


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
    default_wait_s: float | None = None,
    on_replay: Callable[[Receipt], None] | None = None,
) -> Response:
    """Take in the payload of a request that was let in, and answer for it.

    Payloads of more than `at_once_above` records are answered with their receipt at once, unless the client asks to wait.
    `make_drop` turns the decoded body into a drop, or raises `Problem`; it is called in a thread. `answer` says what
    became of the payload where that is not `outcome_response`. `default_wait_s` is how long a request waits that does not say, where
    that is not what the settings say. `on_replay` is told the first receipt of a key that came before, and may raise `Problem`. Raises `Problem` for everything that the contract
    names; `ClientDisconnect` when the sender went away.
    """
    waiting = waiting_for(request, default_s=default_wait_s)
    if waiting.seconds == 0:
        return await _take(request, arrival, make_drop, waiting, at_once_above, answer, on_replay)

    with front_door(request).waker.demand() as demand:

        def make_and_wait(arrival: Arrival, body: bytes) -> NewDrop:
            drop = make_drop(arrival, body)
            if _waits(waiting, drop.records, at_once_above):
                demand.add(drop.flow, drop.lane)
            return drop

        return await _take(request, arrival, make_and_wait, waiting, at_once_above, answer, on_replay)


def _waits(waiting: Waiting, records: int, at_once_above: int | None) -> bool:
    return waiting.seconds > 0 and (
        waiting.applied is not None or at_once_above is None or records <= at_once_above
    )


async def _take(
    request: Request,
    arrival: Arrival,
    make_drop: MakeDrop,
    waiting: Waiting,
    at_once_above: int | None,
    answer: Answer | None,
    on_replay: Callable[[Receipt], None] | None,
) -> Response:
    door = front_door(request)
    accepted = await _land(door, request, arrival, make_drop, waiting)
    door.metrics.count_accepted(accepted.header.flow)
    waits = _waits(waiting, accepted.header.records, at_once_above)
    if accepted.replayed:
        async with ledger_needed():
            known = await ledger.receipt(door.async_engine, accepted.id)
        if known is not None and on_replay is not None:
            on_replay(known)
        if known is not None:
            wait = waiting if waits else replace(waiting, seconds=0)
            return await outcome_or_receipt(request, known, wait, answer=answer, replayed=True)
    if waits and accepted.registered:
        outcome = await wait_for_outcome(request, accepted.id, waiting.seconds, known=accepted.replayed)
        if outcome is not None:
            headers = answer_headers(outcome.id, applied=waiting.applied, replayed=accepted.replayed)
            return outcome_response(door, outcome, headers) if answer is None else answer(outcome, headers)
        receipt = None
        with suppress(Problem):  # the payload is taken, whatever is known of it
            async with ledger_needed(within_s=LOOK_S):
                receipt = await ledger.receipt(door.async_engine, accepted.id)
        if receipt is not None:
            over = replace(waiting, seconds=0)
            return await outcome_or_receipt(request, receipt, over, answer=answer, replayed=accepted.replayed)
    return LandedResponse(accepted, waiting.applied)


async def _land(
    door: FrontDoor, request: Request, arrival: Arrival, make_drop: MakeDrop, waiting: Waiting
) -> Accepted:
    """Read the body and land it; the body's memory is given back on return."""
    with door.body_memory.reserve() as reservation:
        body = await door.bodies.read(request.receive, arrival.headers, reservation)
        make = partial(make_drop, arrival, body)
        with intake_refusals:
            keyed = arrival.idempotency_key is not None
            early = waiting.seconds == 0
            within_s = waiting.seconds or ANSWERS_WITHIN_S
            return await door.intake.accept_made(
                make, size=len(body), keyed=keyed, early=early, within_s=within_s
            )
