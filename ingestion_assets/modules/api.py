"""The modules flow in a front door: its endpoints for sites, syncs, inventories and security, and what it does beside them."""

from fastapi import APIRouter

from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.modules.flow import NAME
from ingestion_assets.modules.web import (
    inventory_endpoints,
    security_endpoints,
    site_endpoints,
    sync_endpoints,
)
from ingestion_assets.modules.web.queue_intake import take_jobs
from ingestion_assets.modules.web.webhook_delivery import send_webhooks

router = APIRouter(prefix="/api/v1", tags=[NAME])
for part in (
    site_endpoints.router,
    sync_endpoints.audited,
    sync_endpoints.router,
    inventory_endpoints.router,
    security_endpoints.router,
):
    router.include_router(part)

CURL = "/api/v1/sites -H 'Content-Type: application/json' -d '{\"name\": \"Town hall\"}'"
HTTP = FlowHttp(routers=[router], background=[take_jobs, send_webhooks], curl=CURL)
