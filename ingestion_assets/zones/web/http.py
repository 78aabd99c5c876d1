"""What drop zones have at the front door: their endpoints, following what is in force, and their part of the API document."""

from typing import Any

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.zones import in_force
from ingestion_assets.zones.web.drop_endpoint import drop_router
from ingestion_assets.zones.web.known_zones import KnownZones, follow_zones
from ingestion_assets.zones.web.signed import Refusals
from ingestion_assets.zones.web.zone_endpoints import zone_router


def http() -> FlowHttp:
    """For one front door, which knows no zone yet."""
    known, refusals = KnownZones(), Refusals()

    async def follow(door: FrontDoor) -> None:
        await follow_zones(door, known, refusals)

    return FlowHttp(
        routers=[drop_router(known, refusals), zone_router(known)],
        channels=[in_force.CHANNEL],
        background=[follow],
        schemas=lambda: _schemas(known),
        health=known.health,
        curls=known.curls,
    )


def _schemas(known: KnownZones) -> dict[str, Any]:
    """A schema of its records for each zone."""
    return {f"{name}_record": dict(document.schema) for name, document in known.documents.items()}
