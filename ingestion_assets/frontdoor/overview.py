"""The page at `/` and the figures it shows: flows with rates, backlog and latency. What payloads and rejects hold wants a key, as everywhere."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import errors
from ingestion_assets.frontdoor.self_contained_page import page_response
from ingestion_assets.landing.flow_figures import Minute, last_hour

router = APIRouter(tags=["operations"])
log = structlog.get_logger(__name__)

FRESH_S = 10.0
READ_S = 5.0
ICON = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#2f6feb" d="M2 1h12v4L9 9v6H7V9L2 5z"/></svg>'


class MinuteView(BaseModel):
    """What ended within a minute."""

    at: datetime
    payloads: int
    records: int
    failed: int
    p50_s: float = Field(description="Median of the seconds from acceptance to outcome.")
    p95_s: float


class FlowView(BaseModel):
    """A flow now and within the last hour."""

    name: str
    waiting: int | None = Field(
        description="Payloads that no run has claimed; null while the ledger is down."
    )
    at_work: int | None
    oldest_s: float | None = Field(description="For how long the first of them has waited.")
    overdue: bool = Field(description="Whether that is longer than is normal.")
    open_rejects: int | None
    minutes: list[MinuteView] = Field(description="Those in which something ended, oldest first.")
    assets_url: str = Field(description="The flow's assets in the Dagster UI.")
    curl: str = Field(
        description="What follows the front door's address in a command that sends a first payload."
    )


class OverviewView(BaseModel):
    """What the page at `/` shows without a key."""

    version: str
    now: datetime
    dagster_url: str
    flows: list[FlowView]


class _Figures:
    """The ledger's figures of the last hour, read at most every `FRESH_S` seconds, by one request at a time."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._lock = asyncio.Lock()
        self._read_at = -FRESH_S
        self._known: Mapping[str, list[Minute]] = {}

    async def refresh(self) -> Mapping[str, list[Minute]]:
        async with self._lock:
            if time.monotonic() - self._read_at > FRESH_S:
                try:
                    async with asyncio.timeout(READ_S):
                        self._known = await last_hour(self._door.async_engine, sorted(self._door.flows))
                except (SQLAlchemyError, OSError, TimeoutError) as error:
                    log.debug("flow_figures_unavailable", error=str(error))
                    self._known = {}
                self._read_at = time.monotonic()
        return self._known

    async def close(self) -> None:
        """Nothing is open."""


@router.get("/", include_in_schema=False)
async def page() -> Response:
    return page_response(__package__ or "", "overview_page.html")


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> Response:
    return Response(ICON, media_type="image/svg+xml")


@router.get(
    "/api/v1/overview",
    operation_id="readOverview",
    summary="Flows at a glance",
    description="Rates, latency and backlog of every flow, as the page at `/` shows them; at most ten seconds old. Needs no key.",
    response_model=OverviewView,
    responses=errors(),
)
async def overview(request: Request) -> Response:
    door = front_door(request)
    figures = await door.resource("overview", lambda: _Figures(door), lambda opened: opened.close()).refresh()
    statistics = await door.backlog.refresh()
    overdue = door.backlog.overdue(statistics) if statistics else []
    ui = (door.settings.public_webserver_url or door.settings.dagster_url).rstrip("/")
    flows: list[dict[str, Any]] = []
    curls = request.app.state.curl_of_flows()
    for name in sorted(door.flows):
        rejects = (
            sum(n for (flow, _), n in statistics.open_rejects.items() if flow == name) if statistics else None
        )
        flows.append(
            {
                "name": name,
                "waiting": statistics.unfinished.get((name, "landed"), 0) if statistics else None,
                "at_work": statistics.unfinished.get((name, "claimed"), 0) if statistics else None,
                "oldest_s": statistics.waiting_s.get(name) if statistics else None,
                "overdue": name in overdue,
                "open_rejects": rejects,
                "minutes": figures.get(name, []),
                "assets_url": f"{ui}/locations/{door.flows[name].location}/asset-groups/{name}/lineage",
                "curl": curls.get(name, ""),
            }
        )
    return json_response(
        {"version": request.app.version, "now": datetime.now(UTC), "dagster_url": ui, "flows": flows}
    )
