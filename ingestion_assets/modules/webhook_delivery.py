"""Sending webhooks that are due, beside the requests of a front door."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.modules.webhook_addresses import Allowed, allowed_by
from ingestion_assets.modules.webhooks import Call, deliver, end, take_due
from ingestion_assets.stores.sealing import Sealer, sealer

POLL_S = 1.0

log = structlog.get_logger(__name__)


async def send_webhooks(door: FrontDoor) -> None:
    """Send until cancelled; what is cut off is sent again later."""
    loop = asyncio.get_running_loop()
    allowed = allowed_by(door.settings)
    while True:
        try:
            calls = await loop.run_in_executor(door.threads, take_due, door.engine)
            if calls:
                own = await loop.run_in_executor(door.threads, sealer, door.settings)
                await asyncio.gather(*(_send(door, call, own, allowed) for call in calls))
        except (SQLAlchemyError, OSError) as error:
            log.debug("webhooks_unavailable", error=str(error).splitlines()[:1])
            calls = []
        if not calls:
            await asyncio.sleep(POLL_S)


async def _send(door: FrontDoor, call: Call, own: Sealer, allowed: Allowed) -> None:
    error = await deliver(call, sealer=own, allowed=allowed)
    if error:
        log.warning("webhook_failed", sync=str(call.sync_id), attempt=call.attempts, error=error)
    await asyncio.get_running_loop().run_in_executor(
        door.threads, lambda: end(door.engine, call, error=error)
    )
