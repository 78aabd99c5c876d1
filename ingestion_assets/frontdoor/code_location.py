"""Seeing to it that Dagster has its code location: without it no sensor and no schedule ticks, and no run starts.

Its process ends where nobody was heard for half a minute, as when the machine was suspended, and comes back only when it is
asked to. A wake that finds it gone has it loaded at once (`launching.py`); this finds it gone while nothing arrives.
"""

import asyncio

import httpx
import structlog

from ingestion_assets.frontdoor.dagster_graphql import DagsterError, location_error, reload_code_location
from ingestion_assets.frontdoor.door import FrontDoor

LOOK_S = 10.0
PART = "code_location"
"""What `/health` and the metrics call it."""

log = structlog.get_logger(__name__)


async def keep_code_location(door: FrontDoor) -> None:
    """Have the code location loaded again whenever it is gone, until cancelled."""
    settings = door.settings
    async with httpx.AsyncClient(base_url=settings.dagster_url, auth=settings.dagster_login) as dagster:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await _look(door, dagster)
            except (
                DagsterError,
                httpx.HTTPError,
                ValueError,
            ) as error:  # the orchestrator is away, which its own probe says
                log.debug("code_location_not_looked_at", error=str(error))


async def _look(door: FrontDoor, dagster: httpx.AsyncClient) -> None:
    gone = await location_error(dagster)
    if gone is None:
        door.dependencies.report(PART, None)
        return
    log.warning("code_location_lost", error=gone)
    try:
        await reload_code_location(dagster)
    except DagsterError as error:
        door.dependencies.report(PART, "Dagster cannot load it; its log says why")
        log.warning("code_location_not_reloaded", error=str(error))
