"""The repositories flow in a front door: its endpoints, the sweep of its queue, and watched repositories with a new commit."""

import asyncio

import structlog
from fastapi import APIRouter

from ingestion_assets.embedding.asking import ANSWERS
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.frontdoor.flow_tables import once_there
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.repositories import index_jobs, watched_repositories
from ingestion_assets.repositories.flow import NAME
from ingestion_assets.repositories.settings import repositories_settings
from ingestion_assets.repositories.web import queue_endpoints, repository_endpoints, webhook_endpoints

SWEEP_S = 10.0
WATCH_PRINCIPAL = "watch"

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1", tags=[NAME])
for part in (queue_endpoints, webhook_endpoints, repository_endpoints):
    router.include_router(part.router)


async def keep_queue(door: FrontDoor) -> None:
    """Until cancelled: a queue whose worker is away does not stay full of what nobody wants any more, and what a look found to be new
    gets a place when there is one."""
    settings = repositories_settings()
    while True:
        try:
            skipped = await door.in_thread(
                lambda connection: index_jobs.sweep(connection, ttl_s=settings.ttl_s)
            )
            if skipped:
                log.warning("repositories_skipped", jobs=skipped, why=index_jobs.EXPIRED)
            while (wanted := await door.in_thread(watched_repositories.wanted)) is not None:
                repository, submission = wanted
                await queue_endpoints.dispatch(
                    door, submission, principal=WATCH_PRINCIPAL, facts={"via": "watch"}
                )
                await door.in_thread(
                    lambda connection, one=repository: watched_repositories.submitted(connection, one)
                )
        except Problem as problem:  # the queue is full, or a store is away: later, then
            log.debug("queue_waits", error=problem.detail)
        await asyncio.sleep(SWEEP_S)


HTTP = FlowHttp(
    routers=[router],
    background=[once_there("repositories.jobs", keep_queue)],
    channels=(ANSWERS,),
    curl="/api/v1/ingestion/ingest/github.com/dagster-io/dagster -X POST",
)
