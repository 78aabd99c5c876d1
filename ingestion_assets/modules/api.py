"""The modules flow over HTTP: one router of its endpoints for sites, syncs, inventories and security."""

from fastapi import APIRouter

from ingestion_assets.modules import (
    inventory_endpoints,
    security_endpoints,
    site_endpoints,
    sync_endpoints,
)
from ingestion_assets.modules.flow import NAME

router = APIRouter(prefix="/api/v1", tags=[NAME])
for part in (site_endpoints, sync_endpoints, inventory_endpoints, security_endpoints):
    router.include_router(part.router)
