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
    """Closes connections whose request head takes too long or grows too large, and those that stay silent.

    uvicorn's own time limit starts after the first answer only and sets a timer for each, and httptools has no limit on the
    size of headers. Here a connection has one timer, and a head that comes in one read costs two comparisons.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._deadline: float | None = (
            None  # loop time at which a head that goes on, or silence, has lasted too long
        )
        self._read_bytes = 0  # of the last read
        self._head_bytes: int | None = None  # of a head that goes on, but for the read in which it began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._close_in(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._read_bytes = len(data)
        HttpToolsProtocol.data_received(self, data)
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            self._head_goes_on()
        else:
            self._head_bytes = None
            if not cycle.response_complete:
                self._deadline = None

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        fits = self._head_bytes is None and self._read_bytes <= HEAD_BYTES
        if len(self.headers) > HEAD_LINES or not (fits or self._head_size() <= HEAD_BYTES):
            self._refuse()
        else:
            HttpToolsProtocol.on_headers_complete(self)

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._close_in(self.timeout_keep_alive if self._head_bytes is None else HEAD_S)

    def _head_size(self) -> int:
        return len(self.url) + sum([len(name) + len(value) for name, value in self.headers])

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def _head_goes_on(self) -> None:
        if self._head_bytes is None:
            self._head_bytes = 0
            self._close_in(HEAD_S)
        else:
            self._head_bytes += self._read_bytes
            if self._head_bytes > HEAD_BYTES:
                self._refuse()

    def _close_in(self, seconds: float) -> None:
        """Close the connection then, unless something comes."""
        self._deadline = self.loop.time() + seconds
        if self._timer is not None and self._timer_due > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._look_at(self._deadline)

    def _look_at(self, due: float) -> None:
        self._timer_due = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() < self._deadline - 0.001:
            self._look_at(self._deadline)
        elif (
            self.flow.read_paused
        ):  # until requests before it are answered: nobody can tell what has come since
            self._close_in(HEAD_S)
        else:
            self.transport.close()


def exchange_of(receive: Receive) -> RequestResponseCycle | None:
    """uvicorn's cycle of one request and its answer, whose ASGI `receive` this is; None where another server serves."""
    owner = getattr(receive, "__self__", None)
    return owner if isinstance(owner, RequestResponseCycle) else None


async def answer(
    exchange: RequestResponseCycle,
    *,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    lines: bytes,
    body: bytes | memoryview,
    close: bool,
) -> None:
    """Write a whole answer. `headers`, that of the length among them, and `lines`, which are headers too, are ours and
    well-formed; `close` ends the connection.

    The same as ASGI's two messages to uvicorn, in a quarter of the time: those are checked and put together header by header.
    """
    if exchange.flow.write_paused and not exchange.disconnected:
        await exchange.flow.drain()
    if exchange.disconnected:
        return
    exchange.response_started = exchange.response_complete = True
    ends = close or not exchange.keep_alive
    head = b"\r\n".join([b": ".join(header) for header in (*exchange.default_headers, *headers)])
    last = b"connection: close\r\n\r\n" if ends else b"\r\n"
    exchange.transport.write(b"".join((STATUS_LINE[status], head, b"\r\n", lines, last, body)))
    exchange.message_event.set()
    if ends:
        exchange.transport.close()
    exchange.on_response()
