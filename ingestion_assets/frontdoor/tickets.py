"""Tickets: what a page in a browser shows instead of an API key, where it can set no header (WebSockets, event streams).

A ticket is good for one use within seconds, at any front door, and for what the key that asked for it may do. So it may stand in
an address, which proxies write into their logs.
"""

import secrets
from datetime import datetime

import sqlalchemy as sa
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.tokens import Principal, digest

TICKET_S = 30
LONGEST = 128  # characters

router = APIRouter(prefix="/api/v1/tickets", tags=["streams"])

_ISSUE = sa.text("""
    WITH expired AS (DELETE FROM ingestion.tickets WHERE expires_at < clock_timestamp())
    INSERT INTO ingestion.tickets (digest, principal, scopes, expires_at)
    VALUES (:digest, :principal, :scopes, clock_timestamp() + make_interval(secs => :seconds)) RETURNING expires_at
""")
_REDEEM = sa.text("""
    DELETE FROM ingestion.tickets WHERE digest = :digest
    RETURNING principal, scopes, expires_at > clock_timestamp() AS good
""")


class Ticket(BaseModel):
    """Stands for an API key once."""

    ticket: str = Field(description="What goes into the query parameter `ticket`.")
    expires_at: datetime = Field(description="Until when it can be used.")


@router.post(
    "",
    operation_id="createTicket",
    summary="Get a ticket for a WebSocket or an event stream",
    description=(
        f"A page in a browser can set no header on a WebSocket or an `EventSource`: it gets a ticket (good once, within {TICKET_S} s) "
        "and opens the address with `?ticket=…`. The ticket may do what the key of this request may do."
    ),
    status_code=201,
    response_model=Ticket,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def create_ticket(request: Request) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    ticket = secrets.token_urlsafe(32)
    values = {
        "digest": digest(ticket),
        "principal": principal.name,
        "scopes": sorted(principal.scopes),
        "seconds": TICKET_S,
    }
    expires_at = await door.in_thread(lambda connection: connection.execute(_ISSUE, values).scalar_one())
    return json_response({"ticket": ticket, "expires_at": expires_at}, 201)


async def redeem(door: FrontDoor, ticket: str) -> Principal:
    """Who asked for the ticket, which is used up by that. Raises `Problem` 401, 503."""
    used = await door.in_thread(
        lambda connection: connection.execute(_REDEEM, {"digest": digest(ticket[:LONGEST])}).one_or_none()
    )
    if used is None or not used.good:
        raise Problem(
            401,
            "The ticket is not valid: it was used before, or has expired. Get another one.",
            headers={"WWW-Authenticate": 'Bearer realm="ingestion"'},
        )
    return Principal(used.principal, frozenset(used.scopes))
