"""What a flow has at the front door: its endpoints, and what it keeps doing beside requests."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.middleware import Endpoint
from ingestion_assets.landing.flows import Flow

log = structlog.get_logger(__name__)

Work = Callable[[FrontDoor], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowHttp:
    """A flow's `http`.

    `routers` have its endpoints, WebSockets too; `direct` names those that are called past the router, by method and path.
    `channels` are those of PostgreSQL's NOTIFY that it wants to hear, besides the ledger's;
    `background` is what it keeps doing beside requests: it is started again where it fails, and cancelled before the front
    door stops. `schemas` are those of the API document that change while it runs, and `paths` makes such paths of those that are
    there; `health` is what it adds to `/health`. `curl`
    is what follows the front door's address in a command that sends a first payload, for the page at `/`; `curls` gives such ones by the names
    of flows that come and go.
    """

    routers: Sequence[APIRouter] = ()
    direct: Mapping[tuple[str, str], Endpoint] = field(default_factory=dict)
    channels: Sequence[str] = ()
    background: Sequence[Work] = ()
    schemas: Callable[[], Mapping[str, Any]] = dict
    paths: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {}
    health: Callable[[], Mapping[str, Any]] = dict
    curl: str = ""
    curls: Callable[[], Mapping[str, str]] = dict


def told(parts: Iterable[Callable[[], Mapping[str, Any]]]) -> dict[str, Any]:
    """What flows say, such as their `health`, in one; the first counts. Of one that fails, the log says so."""
    said: dict[str, Any] = {}
    for part in parts:
        try:
            said = {**part(), **said}
        except Exception:
            log.exception("flow_says_nothing", part=getattr(part, "__qualname__", str(part)))
    return said


class ClashError(Exception):
    """Two flows want the same address; says which."""


def without_clashes(own: Iterable[APIRouter]) -> Callable[[Flow, Any], FlowHttp]:
    """Makes what flows have at the front door, one after the other, beside the front door's `own` routers.

    Raises `ClashError` for an address that is taken, or that takes those of others.
    """
    taken = dict.fromkeys(_addresses(FlowHttp(routers=list(own))), "the front door")
    for page in ("/openapi.json", "/docs"):
        taken["GET", page] = "the front door"

    def made(flow: Flow, part: Any) -> FlowHttp:
        http: FlowHttp = part if isinstance(part, FlowHttp) else part()
        addresses = set(_addresses(http))
        for method, path in sorted(addresses):
            if path.startswith("/{"):
                raise ClashError(f"{method} {path} takes the addresses of others")
        for method, path in sorted(addresses & taken.keys()):
            raise ClashError(f"{method} {path} is an address of {taken[method, path]} already")
        taken.update(dict.fromkeys(addresses, flow.name))
        return http

    return made


def _addresses(http: FlowHttp) -> Iterator[tuple[str, str]]:
    yield from http.direct
    for router in http.routers:
        for context in iter_route_contexts(router.routes):
            for method in context.methods or {"WebSocket"}:
                yield method, context.path or ""
