"""HTTP/1.1 connections with limits on what comes before the body: time and bytes for the request line and headers."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 15.0
HEAD_BYTES = 64 * 1024
HEAD_LINES = 200
BODY_ARRIVED = "body_arrived"  # in a request's state once its whole body is in memory


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections whose request head takes too long or grows too large.

    uvicorn's own time limit starts after the first answer only, and httptools has no limit on the size of headers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head_bytes += len(url)
        if self._head_bytes > HEAD_BYTES:
            self._refuse()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES or len(self.headers) > HEAD_LINES:
            self._refuse()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.scope["state"][BODY_ARRIVED] = True  # pyright: ignore[reportTypedDictNotRequiredAccess]

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._close_unfinished)

    def _close_unfinished(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
