"""Server-Sent Events: how an event is written, and the answer that carries them."""

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """The answer that carries the events. Unlike Starlette's own, it leaves the request's body alone."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        unbuffered = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }  # by caches and proxies on the way
        super().__init__(headers=headers | unbuffered)
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async for event in self._events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._events.aclose()  # type: ignore[attr-defined]


def event_bytes(content: object, *, number: int | str | None = None, name: str | None = None) -> bytes:
    """One event as it goes over the wire; `number` is its id, with which a client goes on after it."""
    head = b"" if number is None else f"id: {number}\n".encode()
    kind = b"" if name is None else f"event: {name}\n".encode()
    return head + kind + b"data: " + msgspec.json.encode(content) + b"\n\n"
