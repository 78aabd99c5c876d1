"""WebSocket connections as the server holds them: uvicorn's, counted among the connections of this process."""

import asyncio
import logging
from typing import Any, cast

from ingestion_assets.frontdoor.uvicorn_internals import WebSocketsSansIOProtocol

PING_EVERY_S = 20.0
PONG_WITHIN_S = 20.0
MOST_MESSAGE_BYTES = 2**20

_quiet = logging.getLogger(f"{__name__}.quiet")
_quiet.setLevel(logging.ERROR)


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """Idle until its handshake is done, so that those which nobody lets in are closed first where there are too many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since = self.loop.time()
        # Handshakes hold keys and tickets; what is to be known of them the request log says.
        self.logger = self.conn.logger = _quiet
        self.conn.debug = False

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # with a refusal: nothing more is to be said, or logged, of it

    @property
    def idle_since(self) -> float | None:
        return None if self.handshake_complete else self._since

    def abandon(self) -> None:
        """Close the connection, whatever is under way."""
        cast("asyncio.Transport", self.transport).abort()


def websocket_options() -> dict[str, Any]:
    """Arguments of `uvicorn.Config`: pings find who is gone, and a message is not inflated from less."""
    return {
        "ws": GuardedWebSocket,
        "ws_ping_interval": PING_EVERY_S,
        "ws_ping_timeout": PONG_WITHIN_S,
        "ws_max_size": MOST_MESSAGE_BYTES,
        "ws_per_message_deflate": False,
    }
