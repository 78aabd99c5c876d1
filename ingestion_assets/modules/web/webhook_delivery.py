"""Sending webhooks that are due, beside the requests of a front door: signed, and only to addresses that may be called.

The format is that of https://www.standardwebhooks.com, so that receivers verify with a library of theirs.
"""

import asyncio
import base64
import hashlib
import hmac
import time

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.modules.webhook_addresses import Allowed, ForbiddenAddressError, allowed_by, resolved
from ingestion_assets.modules.webhooks import PREFIX, Call, end, take_due
from ingestion_assets.settings import load_flow_settings
from ingestion_assets.stores.sealing import Sealer, SealError, sealer
from ingestion_assets.tls_context import tls_context

POLL_S = 1.0
TIMEOUT_S = 10

log = structlog.get_logger(__name__)


async def send_webhooks(door: FrontDoor) -> None:
    """Send until cancelled; what is cut off is sent again later."""
    loop = asyncio.get_running_loop()
    allowed = allowed_by(load_flow_settings(ModulesSettings))
    while True:
        try:
            calls = await loop.run_in_executor(door.threads, take_due, door.engine)
            if calls:
                own = await loop.run_in_executor(door.threads, sealer, door.settings)
                await asyncio.gather(*(_send(door, call, own, allowed) for call in calls))
        except SQLAlchemyError as error:
            log.debug("webhooks_unavailable", error=str(error).splitlines()[:1])
            calls = []
        except OSError as error:  # the key that the secrets are sealed with
            log.warning("webhooks_wait", error=str(error))
            calls = []
        if not calls:
            await asyncio.sleep(POLL_S)


async def _send(door: FrontDoor, call: Call, own: Sealer, allowed: Allowed) -> None:
    try:
        async with asyncio.timeout(TIMEOUT_S):  # httpx counts the time of each read
            error = await _deliver(call, sealer=own, allowed=allowed)
    except TimeoutError:
        error = f"there was no answer within {TIMEOUT_S} s"
    if error:
        log.warning("webhook_failed", sync=str(call.sync_id), attempt=call.attempts, error=error)
    await asyncio.get_running_loop().run_in_executor(
        door.threads, lambda: end(door.engine, call, error=error)
    )


async def _deliver(call: Call, *, sealer: Sealer, allowed: Allowed) -> str | None:
    """Make one call; what went wrong, or None."""
    try:
        headers = signed(call, secret=sealer.open(call.sealed), at=int(time.time()))
        target = await resolved(call.url, allowed)
        async with httpx.AsyncClient(
            timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, verify=tls_context()
        ) as client:
            request = client.build_request(
                "POST", target.url, content=call.body, headers={**headers, "Host": target.host},
                extensions={"sni_hostname": target.name},
            )  # fmt: skip
            response = await client.send(request, stream=True)
            await response.aclose()
    except SealError as error:
        return f"the webhook's secret cannot be read: {error}"
    except ForbiddenAddressError as error:
        return str(error)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None if response.is_success else f"it answered {response.status_code}"


def signed(call: Call, *, secret: str, at: int) -> dict[str, str]:
    """The headers of a call."""
    # A secret from before this format has no prefix: its own bytes are the key.
    key = base64.b64decode(secret.removeprefix(PREFIX)) if secret.startswith(PREFIX) else secret.encode()
    digest = hmac.new(key, f"{call.sync_id}.{at}.{call.body}".encode(), hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": str(call.sync_id),
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
