"""The outermost ASGI layer: ids of requests, security headers, the access line, counts, and the answer of last resort."""

import itertools
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import structlog
import uuid_utils
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ingestion_assets.frontdoor.exchange import answer, end_gently, exchange_of
from ingestion_assets.frontdoor.metrics import RequestMetrics
from ingestion_assets.frontdoor.problems import Problem, unexpected
from ingestion_assets.frontdoor.protocol import REFUSED
from ingestion_assets.frontdoor.query import check_parameters

Endpoint = Callable[[Request], Awaitable[Response]]

SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
_POLICY = b"content-security-policy"
_BUT_POLICY = [header for header in SECURITY_HEADERS if header[0] != _POLICY]  # a page may bring its own
_SECURITY_LINES = b"".join(b"%b: %b\r\n" % header for header in SECURITY_HEADERS)
_CLOSE = (b"connection", b"close")
CLIENT_CLOSED = 499

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")

access = logging.getLogger("ingestion.access")
log = structlog.get_logger(__name__)


class OuterLayer:
    """Surrounds `app`. `direct` endpoints are called here, past the framework's own layers and
    router, which cost more than all the rest: these are the endpoints where throughput counts. `owner` is what
    `request.app` gives.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        owner: object,
        direct: Mapping[tuple[str, str], Endpoint],
        metrics: RequestMetrics,
        stopping: Callable[[], bool],
    ) -> None:
        self._app = app
        self._owner = owner
        self._direct = direct
        self._metrics = metrics
        self._stopping = stopping
        self._request_prefix = uuid_utils.uuid7().hex.encode()
        self._request_numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            other = {REFUSED: self._refuse, "websocket": self._websocket}.get(scope["type"], self._app)
            await other(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = self._identified(scope)
        answering = _Answering(scope, receive, send, self._stopping)
        method = scope["method"]
        if method == "HEAD":  # as GET; the server leaves out the body, as it goes by the scope that it made
            scope = {**scope, "method": "GET"}
            scope["state"]["head"] = True  # for answers that end with their client
        direct = self._direct.get((method, scope["path"]))
        try:
            if direct is None:
                await self._app(scope, receive, answering.send)
            else:
                check_parameters(scope["query_string"], ())  # none of them has any
                await answering.respond(await direct(Request(scope, receive)))
        except Problem as problem:
            await answering.respond(problem.response())
        except ClientDisconnect:
            answering.status = CLIENT_CLOSED
        except Exception:
            log.exception("request_failed", request_id=request_id.decode(), path=told_path(scope["path"]))
            if answering.complete:
                return
            if answering.status:
                raise
            await answering.respond(unexpected().response())
        finally:
            seconds = time.perf_counter() - started
            path = scope["path"] if direct is not None else _template(scope)
            self._metrics.count(method, path, answering.status, seconds)
            if access.isEnabledFor(logging.INFO):
                _log_access(scope, method, answering.status, seconds, request_id)

    def _identified(self, scope: Scope) -> bytes:
        """The request's id; what everybody wants of its head goes into its scope."""
        scope["app"] = self._owner
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        headers = state["headers"] = dict(scope["headers"])
        request_id = headers.get(b"x-request-id")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = b"%b-%x" % (self._request_prefix, next(self._request_numbers))
        state["response_headers"] = [(b"x-request-id", request_id)]
        return request_id

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A handshake counts and is logged like a request; how long the socket is open afterwards is no answering time."""
        started = time.perf_counter()
        request_id = self._identified(scope)
        status, closed = 0, False

        async def sending(message: Message) -> None:
            nonlocal status, closed
            kind = message["type"]
            if not status:
                if kind == "websocket.close":  # nobody is there who would take it
                    missing = Problem(404, "There is no WebSocket at this address.")
                    await missing.response()(scope, receive, sending)
                    return
                status = 101 if kind == "websocket.accept" else message["status"]
                seconds = time.perf_counter() - started
                self._metrics.count("GET", _template(scope), status, seconds)
                if access.isEnabledFor(logging.INFO):
                    _log_access(scope, "WEBSOCKET", status, seconds, request_id)
            if kind in {"websocket.accept", "websocket.http.response.start"}:
                own = scope["state"]["response_headers"]
                message["headers"] = [*message.get("headers", ()), *own, *SECURITY_HEADERS]
            closed = closed or kind not in {"websocket.accept", "websocket.send"}
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except WebSocketDisconnect:
            pass  # the client left while it was spoken to
        except Exception:
            log.exception("websocket_failed", request_id=request_id.decode(), path=told_path(scope["path"]))
            if not status:
                await unexpected().response()(scope, receive, sending)
            elif not closed:
                await sending({"type": "websocket.close", "code": 1011, "reason": ""})

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what the server could not take for a request."""
        started = time.perf_counter()
        request_id = b"%b-%x" % (self._request_prefix, next(self._request_numbers))
        scope["state"]["response_headers"] = [(b"x-request-id", request_id)]
        problem: Problem = scope["problem"]
        await _Answering(scope, receive, send, self._stopping).respond(problem.response())
        seconds = time.perf_counter() - started
        self._metrics.count(scope["method"], "unmatched", problem.status, seconds)
        if access.isEnabledFor(logging.INFO):
            _log_access(scope, scope["method"] or "-", problem.status, seconds, request_id)


class _Answering:
    """One request's answer on its way, with the headers that all answers get; `status` 0 as long as nothing was said."""

    __slots__ = ("_receive", "_scope", "_send", "_stopping", "complete", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, stopping: Callable[[], bool]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._stopping = stopping
        self.status = 0
        self.complete = False

    async def send(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            closes = _CLOSE in message["headers"]
            closing = [_CLOSE] if self._stopping() and not closes else []
            exchange = exchange_of(self._receive)
            if exchange is not None and (closes or closing or not exchange.keep_alive):
                end_gently(exchange)
            policy = any(name == _POLICY for name, _ in message["headers"])
            own = (*self._scope["state"]["response_headers"], *(_BUT_POLICY if policy else SECURITY_HEADERS))
            message["headers"] = [*message["headers"], *own, *closing]
        elif not message.get("more_body"):
            self.complete = True
        await self._send(message)

    async def respond(self, response: Response) -> None:
        """Send a response whole, in one go where that can be."""
        exchange = exchange_of(self._receive)
        if exchange is None or self._scope["method"] == "HEAD":
            await response(self._scope, self._receive, self.send)
            return
        self.status = response.status_code
        headers = response.raw_headers
        closes = _CLOSE in headers
        if closes:
            headers = [header for header in headers if header != _CLOSE]
        await answer(
            exchange,
            status=response.status_code,
            headers=(*headers, *self._scope["state"]["response_headers"]),
            lines=_SECURITY_LINES,
            body=response.body,
            close=closes or self._stopping(),
        )
        self.complete = True


def _log_access(scope: Scope, method: str, status: int, seconds: float, request_id: bytes) -> None:
    client = scope.get("client")
    access.info(
        '%s "%s %s" %d %.1fms principal=%s request_id=%s',
        client[0] if client else "-", method, told_path(scope["path"]), status, seconds * 1000,
        scope["state"].get("principal", "-"), request_id.decode(),
    )  # fmt: skip


# What may be a password in an address that is part of a path; not the branch in `owner/name@branch`.
_USERINFO = re.compile(r"(?<=:/).*@|(?<=/)[^/]*:[^/]*@|(?<=/)[^/]*@(?=[^/@]*[.:][^/@]*/)")


def told_path(path: str) -> str:
    """A path as logs tell it: in one line, without passwords."""
    hidden = _USERINFO.sub("***@", path)
    return hidden if hidden.isprintable() else hidden.encode("unicode_escape").decode("ascii")


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path_format", None) or "unmatched"
