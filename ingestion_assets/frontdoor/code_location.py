"""Seeing to it that Dagster has the code locations of the flows: without its own a flow has no sensor, and no run starts.

Its process ends where nobody was heard for half a minute, as when the machine was suspended, and comes back only when it is
asked to. A wake that finds it gone has it loaded at once (`launching.py`); this finds it gone while nothing arrives.
"""

import asyncio

import httpx
import structlog

from ingestion_assets.frontdoor.dagster_graphql import (
    DagsterError,
    dagster_client,
    is_location_loaded,
    reload_code_location,
)
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.run_tags import LOCATION

LOOK_S, UNTIL_LOADED_S, RELOAD_AGAIN_S = 10.0, 1.0, 30.0
PART = "code_location"
"""What `/health` and the metrics call ours; others have their name behind it."""

log = structlog.get_logger(__name__)


async def keep_code_location(door: FrontDoor) -> None:
    """Have the code locations loaded again whenever they are gone, until cancelled."""
    if not door.settings.asks_dagster:  # then its daemon is all that sees to them
        return
    async with dagster_client(door.settings) as dagster:
        kept: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                await asyncio.sleep(LOOK_S if is_loaded(door) else UNTIL_LOADED_S)
                for location in _locations(
                    door
                ):  # side by side: one that takes long keeps no other from being looked at
                    if location not in kept or kept[location].done():
                        kept[location] = asyncio.create_task(_keep(door, dagster, location))
        finally:
            for task in kept.values():
                task.cancel()
            await asyncio.gather(*kept.values(), return_exceptions=True)


def _locations(door: FrontDoor) -> list[str]:
    """Ours first, then those of a user's flows and modules."""
    own = {one.location for one in door.settings.own_modules}
    others = own | {flow.location for flow in door.flows.values()}
    return [LOCATION, *sorted(others - {LOCATION})]


async def _keep(door: FrontDoor, dagster: httpx.AsyncClient, location: str) -> None:
    """Look at one, and rest where it could not be loaded."""
    try:
        if await is_location_loaded(dagster, location):
            door.dependencies.report(_part(location), None)
    except DagsterError as error:
        log.warning("code_location_lost", location=location, error=str(error))
        if not await _reload(door, dagster, location):
            await asyncio.sleep(RELOAD_AGAIN_S)
    except (httpx.HTTPError, ValueError) as error:  # it is away, which its own probe says
        log.debug("code_location_not_looked_at", location=location, error=str(error))


def _part(location: str) -> str:
    return PART if location == LOCATION else f"{PART}_{location}"


def is_loaded(door: FrontDoor) -> bool:
    """Whether our code location was there at the last look, as far as the orchestrator answered."""
    return not door.settings.asks_dagster or door.dependencies.known.get(PART, "not looked at yet") is None


async def _reload(door: FrontDoor, dagster: httpx.AsyncClient, location: str) -> bool:
    try:
        await reload_code_location(dagster, location)
    except DagsterError as error:
        log.warning("code_location_not_reloaded", location=location, error=str(error))
        door.dependencies.report(
            _part(location), "Dagster cannot load it; the log of its code server says why"
        )
        return False
    return True
