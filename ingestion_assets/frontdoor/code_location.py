"""Seeing to it that Dagster has its code location: without it no sensor and no schedule ticks, and no run starts.

Its process ends where nobody was heard for half a minute, as when the machine was suspended, and comes back only when it is
asked to. A wake that finds it gone has it loaded at once (`launching.py`); this finds it gone while nothing arrives.
"""

import asyncio

import httpx
import structlog

from ingestion_assets.frontdoor.dagster_graphql import DagsterError, is_location_loaded, reload_code_location
from ingestion_assets.frontdoor.door import FrontDoor

LOOK_S, UNTIL_LOADED_S, RELOAD_AGAIN_S = 10.0, 1.0, 30.0
PART = "code_location"
"""What `/health` and the metrics call it."""

log = structlog.get_logger(__name__)


async def keep_code_location(door: FrontDoor) -> None:
    """Have the code location loaded again whenever it is gone, until cancelled."""
    settings = door.settings
    async with httpx.AsyncClient(base_url=settings.dagster_url, auth=settings.dagster_login) as dagster:
        while True:
            await asyncio.sleep(LOOK_S if is_loaded(door) else UNTIL_LOADED_S)
            try:
                if await is_location_loaded(dagster):
                    door.dependencies.report(PART, None)
            except DagsterError as error:
                log.warning("code_location_lost", error=str(error))
                await _reload(door, dagster)
            except (httpx.HTTPError, ValueError) as error:  # it is away, which its own probe says
                log.debug("code_location_not_looked_at", error=str(error))


def is_loaded(door: FrontDoor) -> bool:
    """Whether the code location was there at the last look, as far as the orchestrator answered."""
    return door.dependencies.known.get(PART, "not looked at yet") is None


async def _reload(door: FrontDoor, dagster: httpx.AsyncClient) -> None:
    try:
        await reload_code_location(dagster)
    except DagsterError as error:
        log.warning("code_location_not_reloaded", error=str(error))
        door.dependencies.report(PART, "Dagster cannot load it; the log of its code server says why")
        await asyncio.sleep(RELOAD_AGAIN_S)
