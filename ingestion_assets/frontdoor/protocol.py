"""HTTP/1.1 connections with limits on what comes before the body, time and bytes, and with answers written in one go."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import Receive
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_S = 15.0
HEAD_BYTES = 64 * 1024
HEAD_LINES = 200


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections whose request head takes too long or grows too large.

    uvicorn's own time limit starts after the first answer only, and httptools has no limit on the size of headers. A head
    that comes in one read costs two comparisons: no header is looked at by itself, no timer set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._head_since: float | None = None  # loop time of a head that has not ended
        self._head_bytes = 0  # of it, but for the read in which it began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head(0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        HttpToolsProtocol.data_received(self, data)
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            self._head_since = None
        else:
            self._await_head(len(data))

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        if size > HEAD_BYTES or len(self.headers) > HEAD_LINES:
            self._refuse()
        else:
            HttpToolsProtocol.on_headers_complete(self)

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def _await_head(self, size: int) -> None:
        """`size` more bytes came, and the head goes on or begins."""
        if self._head_since is not None:
            self._head_bytes += size
            if self._head_bytes > HEAD_BYTES:
                self._refuse()
            return
        self._head_since = self.loop.time()
        self._head_bytes = 0
        if self._timer is None:
            self._timer = self.loop.call_at(self._head_since + HEAD_S, self._look_at_head)

    def _look_at_head(self) -> None:
        self._timer = None
        if self._head_since is None:
            return
        due = self._head_since + HEAD_S
        if self.loop.time() >= due:
            self.transport.close()
        else:
            self._timer = self.loop.call_at(due, self._look_at_head)


def exchange_of(receive: Receive) -> RequestResponseCycle | None:
    """uvicorn's cycle of one request and its answer, whose ASGI `receive` this is; None where another server serves."""
    owner = getattr(receive, "__self__", None)
    return owner if isinstance(owner, RequestResponseCycle) else None


async def answer(
    exchange: RequestResponseCycle,
    *,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes | memoryview,
    close: bool,
) -> None:
    """Write a whole answer. `headers`, that of the length among them, are ours and well-formed; `close` ends the connection.

    The same as ASGI's two messages to uvicorn, in a quarter of the time: those are checked and put together header by header.
    """
    if exchange.flow.write_paused and not exchange.disconnected:
        await exchange.flow.drain()
    if exchange.disconnected:
        return
    exchange.response_started = exchange.response_complete = True
    ends = close or not exchange.keep_alive
    parts: list[bytes | memoryview] = [STATUS_LINE[status]]
    for name, value in (*exchange.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"connection: close\r\n\r\n" if ends else b"\r\n", body)
    exchange.transport.write(b"".join(parts))
    exchange.message_event.set()
    if ends:
        exchange.transport.close()
    exchange.on_response()
