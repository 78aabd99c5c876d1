"""HTTP/1.1 connections with limits on what comes before the body, in time and bytes. How answers are written: `exchange`."""

import asyncio
from typing import Any

import httptools

from ingestion_assets.frontdoor.connections import bounds
from ingestion_assets.frontdoor.heads import (
    FRAMING,
    HEAD_BYTES,
    HEAD_LINES,
    check_framing,
    no_tunnel,
    refusal_of,
    too_large,
    too_slow,
)
from ingestion_assets.frontdoor.lingering import Lingering
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.uvicorn_internals import (
    HIGH_WATER_LIMIT,
    HttpToolsProtocol,
    RequestResponseCycle,
)

HEAD_S = 15.0
REFUSED = "http.refused"
"""The type of the scope in which the application is asked to answer a request that cannot be one, with `problem`."""


class GuardedProtocol(HttpToolsProtocol):
    """Refuses request heads that are malformed, too slow or too large; closes connections that stay silent.

    uvicorn's own time limit starts after the first answer only and sets a timer for each, and httptools has no limit on the
    size of headers. Here a connection has one timer, and a head that comes in one read costs three comparisons. Refusals are
    answered by the application, as everything is, and after the requests that came before.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._deadline: float | None = None  # loop time at which a head or silence has lasted too long
        self._since = 0.0  # loop time of the last answer, or of the connection
        self._read_bytes = 0  # of the last read
        self._head_bytes: int | None = None  # of a head that goes on, but for the read in which it began
        self._framing: list[tuple[bytes, bytes]] | None = None  # headers that were found in order last
        self._body_came = False  # in the last read
        self._between_bytes = 0  # of framing and trailers since a read that brought some of the body
        self._lingering: Lingering | None = None
        self._leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._close_in(HEAD_S)
        bounds().make_room(self.connections)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._leaving = True
        super().shutdown()

    @property
    def idle_since(self) -> float | None:
        """Since when no whole request has come; None while one is being answered."""
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete and not cycle.more_body
        return None if answering or self.pipeline else self._since

    def abandon(self) -> None:
        """Close the connection, whatever is under way."""
        self.transport.abort()

    # What comes

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            self._pass_over(self._lingering, len(data))
            return
        self._read_bytes = len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._opens_websocket():
                    self._go_on_as_websocket(data[upgrade.args[0] :])
                    return
                self._go_on_after(upgrade, data)
        except httptools.HttpParserError as error:
            self._refuse(refusal_of(error, data))
            return
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            self._head_goes_on()
            return
        self._head_bytes = None
        if not cycle.response_complete:
            self._deadline = None
        if cycle.more_body:
            self._body_goes_on()

    def _go_on_after(self, upgrade: httptools.HttpParserUpgrade | None, data: bytes) -> None:
        """Requests that would go on in another protocol are taken without that wish, by parsers that have not heard of it."""
        while upgrade is not None:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))
            data, upgrade = head + data[upgrade.args[0] :], None
            self.parser = httptools.HttpRequestParser(self)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                upgrade = another

    def _opens_websocket(self) -> bool:
        """Not among requests that are still being answered: those are no browser's."""
        answered = not self.pipeline and (self.cycle is None or self.cycle.response_complete)
        return answered and self.parser.get_method() == b"GET" and self._should_upgrade()

    def _go_on_as_websocket(self, rest: bytes) -> None:
        """Hand the connection over with the head that was read, as uvicorn does, and `rest`, which came with it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._deadline = None
        self.connections.discard(self)
        websocket: Any = self.ws_protocol_class
        protocol = websocket(config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        lines = [b"%b: %b\r\n" % header for header in self.headers]
        protocol.data_received(b"GET %b HTTP/1.1\r\n%b\r\n%b" % (self.url, b"".join(lines), rest))

    def on_headers_complete(self) -> None:
        fits = self._head_bytes is None and self._read_bytes <= HEAD_BYTES
        if len(self.headers) > HEAD_LINES or not (fits or self._head_size() <= HEAD_BYTES):
            raise too_large(self.url)
        framing = [header for header in self.headers if header[0] in FRAMING]
        version = self.parser.get_http_version()
        if framing != self._framing or version != "1.1":
            check_framing(version, framing)
            self._framing = framing if version == "1.1" else None
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise no_tunnel()
            return  # `data_received` hears of it, too
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = []  # trailers are no headers of the request

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            return
        cycle.more_body = False
        cycle.message_event.set()

    def _head_size(self) -> int:
        return len(self.url) + sum([len(name) + len(value) for name, value in self.headers])

    def _head_goes_on(self) -> None:
        if self._head_bytes is None:
            self._head_bytes = 0
            self._close_in(HEAD_S)
        else:
            self._head_bytes += self._read_bytes
            if self._head_bytes > HEAD_BYTES:
                self._refuse(too_large(self.url))

    def _body_goes_on(self) -> None:
        """Chunk extensions and trailers are nothing of the body, which its reader would limit."""
        if self._body_came:
            self._body_came, self._between_bytes = False, 0
        else:
            self._between_bytes += self._read_bytes
            if self._between_bytes > HEAD_BYTES:
                self._refuse(too_large(b""))

    # What is answered

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or (
            self._lingering is not None and self._lingering.deadline is not None
        ):
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._close_in(self.timeout_keep_alive if self._head_bytes is None else HEAD_S)

    def _refuse(self, problem: Problem) -> None:
        """Answer so, when what came before is answered, and pass over what comes after."""
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is not None and cycle.scope is self.scope:  # it is a request's body that cannot go on
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
            elif cycle.response_started:
                self.linger() if cycle.response_complete else self.transport.close()
                return
            else:
                cycle.disconnected = True
                cycle.message_event.set()
                cycle = None
        self._lingering = Lingering()
        self._deadline = None
        app: Any = self.app
        method = self.parser.get_method().decode() if self.url else ""
        refusal: Any = {
            "type": REFUSED, "problem": problem, "method": method, "path": "", "client": self.client,
            "headers": [], "state": self.app_state.copy(),
        }  # fmt: skip
        self.cycle = RequestResponseCycle(
            scope=refusal, transport=self.transport, flow=self.flow, logger=self.logger, access_logger=self.access_logger,
            access_log=False, default_headers=self.server_state.default_headers, message_event=asyncio.Event(),
            expect_100_continue=False, keep_alive=False, on_response=self.on_response_complete,
        )  # fmt: skip
        if self.pipeline or (cycle is not None and not cycle.response_complete):
            self.pipeline.appendleft((self.cycle, app))
        else:
            self._start_asgi_task(self.cycle, app)

    def linger(self) -> None:
        """Say that no more answers come, and pass over what is still being sent, within bounds: a connection that is closed
        while something comes in is reset, and with it an answer that was not read yet.
        """
        if self.transport.is_closing():
            return
        if self._lingering is None:
            self._lingering = Lingering()
        self._lingering.begin(short=self._leaving)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self._lingering.deadline
        self._set_timer()

    def _pass_over(self, lingering: Lingering, size: int) -> None:
        if lingering.passes_over(size):
            self._deadline = lingering.deadline
        else:
            self.transport.abort()

    # Time

    def _close_in(self, seconds: float) -> None:
        """Close the connection then, unless something comes."""
        self._since = self.loop.time()
        self._deadline = self._since + seconds
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self._deadline
        if deadline is None:
            return
        if self._timer is not None and self._timer_due > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._look_at(deadline)

    def _look_at(self, due: float) -> None:
        self._timer_due = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() < self._deadline - 0.001:
            self._look_at(self._deadline)
        elif self._lingering is not None:
            self.transport.abort()
        elif (
            self.flow.read_paused
        ):  # until requests before it are answered: nobody can tell what has come since
            self._close_in(HEAD_S)
        elif self._head_bytes or (self._head_bytes is not None and self.cycle is not None):
            self._refuse(too_slow(HEAD_S))
        else:
            self.transport.close()
