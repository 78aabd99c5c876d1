"""The ASGI application: routers, error answers, documentation, start and stop."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from ingestion_assets.frontdoor import (
    drift_endpoint,
    health,
    overview,
    receipt_control,
    receipt_events,
    receipts,
    reject_endpoints,
    tickets,
)
from ingestion_assets.frontdoor.code_location import keep_code_location
from ingestion_assets.frontdoor.docs_page import docs_page
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import FlowHttp, Work, told
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.middleware import Endpoint, OuterLayer
from ingestion_assets.frontdoor.openapi import describe
from ingestion_assets.frontdoor.problems import Problem, error_item, invalid, unexpected
from ingestion_assets.frontdoor.query import known_parameters
from ingestion_assets.frontdoor.websockets import close_for

OWN = [
    module.router
    for module in (
        receipts,
        receipt_control,
        receipt_events,
        tickets,
        reject_endpoints,
        drift_endpoint,
        health,
        overview,
    )
]
"""The routers of the front door itself."""

SERVICE = "ingestion"
PAUSE_S = 5.0
DESCRIPTION = (
    "Payloads are on durable storage before they are acknowledged; each gets a receipt, which tells what became of it and of "
    "every record in it. Errors are problem details (RFC 9457)."
)

log = structlog.get_logger(__name__)


class FrontDoorApp(FastAPI):
    """FastAPI within a layer of our own, which even its own error handling lies in."""

    door: FrontDoor
    _outermost: ASGIApp

    def surround(self, *, direct: Mapping[tuple[str, str], Endpoint], door: FrontDoor) -> None:
        """Put the outer layer around everything."""
        self.door = door
        self._outermost = OuterLayer(
            super().__call__, owner=self, direct=direct, metrics=door.metrics, stopping=lambda: door.stopping
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._outermost(scope, receive, send)


def build_app(
    door: FrontDoor,
    *,
    flows: Collection[FlowHttp],
    faults: Sequence[str] = (),
) -> FrontDoorApp:
    """The application around a front door that is not started yet, with what the flows have at it.

    `faults` say which flows are left out and why; `/health` tells them.
    """
    for flow in flows:
        door.notifications.listen_also(flow.channels)
    background = [keep_code_location, *(work for flow in flows for work in flow.background)]
    direct = {address: endpoint for flow in flows for address, endpoint in flow.direct.items()}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await door.start()
        tasks = [asyncio.create_task(kept_going(work, door)) for work in background]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await door.stop()

    app = FrontDoorApp(
        title=SERVICE, version=version("ingestion-assets"), description=DESCRIPTION, lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, dependencies=[Depends(known_parameters)],
    )  # fmt: skip
    app.state.health_of_flows = lambda: told(flow.health for flow in flows)
    app.state.faults = faults
    app.state.curl_of_flows = dict
    app.surround(direct=direct, door=door)
    app.add_exception_handler(Exception, _unexpected)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid)
    of_flows = [router for flow in flows for router in flow.routers]
    for router in (*OWN, *of_flows):
        app.include_router(router)
    app.openapi = lambda: describe(app, told(flow.schemas for flow in flows), [flow.paths for flow in flows])

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_document() -> Response:
        return json_response(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return docs_page(app.openapi())

    return app


async def kept_going(work: Work, door: FrontDoor, *, pause_s: float = PAUSE_S) -> None:
    """Do `work` to its end: what it did not expect is logged, and after `pause_s` seconds it begins again."""
    while True:
        try:
            return await work(door)
        except Exception:
            log.exception("background_work_failed", work=getattr(work, "__name__", str(work)))
            await asyncio.sleep(pause_s)


async def _unexpected(_: Request, __: Exception) -> Response:
    return unexpected().response()


async def _problem(asked: HTTPConnection, error: Exception) -> Any:
    if not isinstance(error, Problem):
        raise error
    if isinstance(asked, WebSocket) and asked.application_state is not WebSocketState.CONNECTING:
        await close_for(asked, error)
        return None
    if error.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE and isinstance(asked, Request):
        error.detail += _longer_addresses(asked)
    return error.response()


async def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = {404: "There is nothing at this address.", 405: "This address does not take that method."}.get(
        error.status_code, str(error.detail)
    )
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return Problem(error.status_code, detail, headers=headers).response()


def _methods_at(request: Request) -> set[str]:
    """What the address takes: the framework names the methods of the first route only that has it."""
    found: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if context.path_regex.match(request.url.path):
            found |= context.methods or set()
    return found | {"HEAD"} if "GET" in found else found


def _longer_addresses(request: Request) -> str:
    """A sentence on the addresses of other endpoints that end like this one, for who has left out their beginning; or nothing."""
    path, endpoint = request.url.path, request.scope.get("endpoint")
    others = {
        str(context.path)
        for context in iter_route_contexts(request.app.routes)
        if str(context.path).endswith(path) and context.endpoint is not endpoint
    }
    return (
        f" If you meant another address that ends like this one: {', '.join(sorted(others))}."
        if others
        else ""
    )


async def _invalid(_: HTTPConnection, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError | WebSocketRequestValidationError):
        raise error
    return invalid(
        [error_item(*one["loc"], msg=one["msg"], type=one["type"]) for one in error.errors()]
    ).response()
