"""WebSockets, ours and the flows': who may open one, how many there are, and how they end.

An endpoint lets a client in with `admitted`, looks at what it asks for, and raises `Problem` for what it does not get, which
answers the handshake; then it opens the socket with `opened`.
"""

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.tickets import redeem
from ingestion_assets.frontdoor.tokens import Principal

PROTOCOL = "ingestion"
KEY_PROTOCOL = "ingestion.key."
"""Subprotocols: the one that is spoken, and one that brings an API key, which must be offered beside it."""
NORMAL, RESTARTING, REFUSED, TRY_LATER = 1000, 1012, 1008, 1013
KEY_OVER = "The API key was revoked, or has expired."
LONGEST_REASON = 123  # bytes, by RFC 6455


async def admitted(connection: HTTPConnection, *scopes: str) -> Principal:
    """Who opens a stream: by the headers of every request, the query parameter `ticket`, or a subprotocol.

    Raises `Problem` 401, 403 (also for a page of another site), 429, 503.
    """
    door = front_door(connection)
    if connection.scope["type"] == "websocket":
        _check_origin(connection, door.settings.websocket_origins)
    ticket = connection.query_params.get("ticket")
    if ticket is not None:
        return await door.admit(connection, await redeem(door, ticket), *scopes)
    offered: list[str] = connection.scope.get("subprotocols", [])
    keys = [one.removeprefix(KEY_PROTOCOL) for one in offered if one.startswith(KEY_PROTOCOL)]
    if keys:
        connection.scope["state"]["headers"].setdefault(b"x-api-key", keys[0].encode("latin-1", "replace"))
    return await door.authenticate(connection, *scopes)


def _check_origin(connection: HTTPConnection, allowed: str) -> None:
    """A page may open a WebSocket to its own site, and to ours where it is named. What is no browser says no origin."""
    origin = connection.headers.get("origin")
    if origin is None:
        return
    own = urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()
    named = {one.strip().rstrip("/").lower() for one in allowed.split(",")}
    if not own and not {origin.lower(), "*"} & named:
        raise Problem(
            403,
            "Pages of this origin may not open WebSockets here; INGESTION_WEBSOCKET_ORIGINS names those that may.",
        )


@contextlib.asynccontextmanager
async def opened(websocket: WebSocket, principal: Principal) -> AsyncIterator[None]:
    """The socket, open until the end of the block: then it is closed, with 1012 where this front door stops.

    The block is cut short once the API key is revoked or has expired; then it is closed with 1008.
    """
    door = front_door(websocket)
    async with door.streams.one_more(principal.name) as cut:
        spoken = PROTOCOL if PROTOCOL in websocket.scope["subprotocols"] else None
        await websocket.accept(subprotocol=spoken)
        with contextlib.suppress(WebSocketDisconnect):
            yield
    if cut.expired():
        await close_for(websocket, Problem(401, KEY_OVER))
    elif websocket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(RESTARTING if door.stopping else NORMAL)


async def client_gone(websocket: WebSocket) -> None:
    """Until the client has left; what it says is passed over."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def close_for(websocket: WebSocket, problem: Problem) -> None:
    """Close a socket that is open with what is wrong."""
    reason = problem.detail.encode()[:LONGEST_REASON].decode(errors="ignore")
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.close(TRY_LATER if problem.status in {429, 503} else REFUSED, reason)
