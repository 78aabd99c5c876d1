"""What drop zones have at the front door: their endpoints, following what is in force, and their part of the API document."""

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.zones import in_force
from ingestion_assets.zones.web.drop_endpoint import drop_router
from ingestion_assets.zones.web.known_zones import KnownZones, follow_zones
from ingestion_assets.zones.web.unverified import Refusals
from ingestion_assets.zones.web.zone_endpoints import zone_router
from ingestion_assets.zones.web.zone_schemas import paths_of, schemas


def http() -> FlowHttp:
    """For one front door, which knows no zone yet."""
    known, refusals = KnownZones(), Refusals()

    async def follow(door: FrontDoor) -> None:
        await follow_zones(door, known, refusals)

    return FlowHttp(
        routers=[drop_router(known, refusals), zone_router(known)],
        channels=[in_force.CHANNEL],
        background=[follow],
        schemas=lambda: schemas(known.documents),
        paths=lambda paths: paths_of(known.documents, paths),
        health=known.health,
        curls=known.curls,
    )
