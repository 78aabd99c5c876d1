"""The repositories flow in a front door: its endpoints, and the sweep of its queue."""

import asyncio

import structlog
from fastapi import APIRouter

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.repositories import jobs
from ingestion_assets.repositories.flow import NAME
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.web import queue_endpoints
from ingestion_assets.settings import load_flow_settings

SWEEP_S = 10.0

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1", tags=[NAME])
for part in (queue_endpoints,):
    router.include_router(part.router)


async def sweep_queue(door: FrontDoor) -> None:
    """Until cancelled: a queue whose worker is away does not stay full of what nobody wants any more."""
    ttl_s = load_flow_settings(RepositoriesSettings).ttl_s
    while True:
        try:
            skipped = await door.in_thread(lambda connection: jobs.sweep(connection, ttl_s=ttl_s))
            if skipped:
                log.warning("repositories_skipped", jobs=skipped, why=jobs.EXPIRED)
        except Problem as problem:
            log.debug("queue_not_swept", error=problem.detail)
        await asyncio.sleep(SWEEP_S)


HTTP = FlowHttp(routers=[router], background=[sweep_queue])
