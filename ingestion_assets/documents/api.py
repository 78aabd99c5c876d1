"""The documents flow in a front door: its endpoints, and jobs kept in agreement with the ledger."""

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
import structlog
from fastapi import APIRouter

from ingestion_assets.documents import job_agreement, job_events, stored_contents
from ingestion_assets.documents.flow import NAME
from ingestion_assets.documents.web import (
    connection_endpoints,
    connection_syncs,
    document_endpoints,
    documents_page,
    job_endpoints,
    progress_socket,
    search_endpoints,
)
from ingestion_assets.embedding.asking import ANSWERS
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import FlowHttp
from ingestion_assets.frontdoor.flow_tables import once_there
from ingestion_assets.frontdoor.problems import Problem

AGREE_S = 2.0
FORGET_EVERY, PURGE_EVERY = 150, 10
TABLE = "documents.connections"
"""There once all of the flow's are."""

log = structlog.get_logger(__name__)

PARTS = [
    job_endpoints,
    progress_socket,
    connection_endpoints,
    connection_syncs,
    search_endpoints,
    document_endpoints,
]


def _routers() -> list[APIRouter]:
    """All endpoints, under the specification's addresses and under those of this API."""
    routers = [
        APIRouter(prefix="/batch", tags=[NAME]), APIRouter(prefix="/api/v1/batch", tags=[NAME], include_in_schema=False),
    ]  # fmt: skip
    for router in routers:
        for part in PARTS:
            router.include_router(part.router)
    return routers


async def keep_agreement(door: FrontDoor) -> None:
    """Until cancelled: jobs say what became of their payloads, and what was told long ago is forgotten."""
    turn = 0
    while True:
        if changed := await _tried(door, job_agreement.agree):
            log.info("jobs_agree_with_the_ledger", changed=changed)
        if turn % FORGET_EVERY == 0:
            while await _tried(door, job_events.forget) == job_events.FORGOTTEN_AT_ONCE:
                pass
        if turn % PURGE_EVERY == 0:
            for purge in stored_contents.PURGES:
                await _tried(door, purge)
            if cancelled := await _tried(door, job_agreement.cancel_strays):
                log.info("held_payloads_without_a_job_cancelled", cancelled=cancelled)
        turn += 1
        await asyncio.sleep(AGREE_S)


async def _tried(door: FrontDoor, work: Callable[[sa.Connection], int]) -> int:
    """How many rows it changed; none while the ledger is away, or too slow for it: the next turn tries again."""
    try:
        return await door.in_thread(work)
    except Problem as problem:
        log.debug("jobs_wait", error=problem.detail)
        return 0


HTTP = FlowHttp(
    routers=[*_routers(), documents_page.router],
    background=[once_there(TABLE, keep_agreement)],
    channels=(job_events.CHANNEL, ANSWERS),
    curl="/batch/connections -H 'Content-Type: application/json' "
    """-d '{"user_id": "user123", "source_type": "local_directory", "name": "Papers", "config": {"path": "papers"}}'""",
)
