"""Telling a site's webhook that a sync is done: signed, retried, and only to addresses that may be called; see `webhook_addresses.py`.

What is to be told is written with the sync and sent by any front door, so that none is lost; it may come twice, with the same
`Webhook-Id`. How a call went is noted only by whoever made the newest try. The signature is `Webhook-Signature: t=<unix time>,v1=<hex HMAC-SHA256 of "<t>.<body>">` with the site's secret, which
is kept sealed.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa

from ingestion_assets.modules.webhook_addresses import Allowed, ForbiddenAddressError, resolved
from ingestion_assets.stores.sealing import Sealer, SealError

MAX_ATTEMPTS = 8
FIRST_DELAY_S = 5
TIMEOUT_S = 10
HELD_S = 60

_ANNOUNCE = sa.text("""
    INSERT INTO ingestion.module_webhooks (sync_id, site_id, body)
    SELECT :sync_id, id, :body FROM ingestion.sites WHERE id = :site_id AND webhook_url IS NOT NULL
    ON CONFLICT DO NOTHING
""")
_TAKE = sa.text("""
    WITH due AS (
        SELECT sync_id FROM ingestion.module_webhooks WHERE state = 'waiting' AND try_after <= clock_timestamp()
        ORDER BY try_after LIMIT 10 FOR UPDATE SKIP LOCKED
    )
    UPDATE ingestion.module_webhooks w
    SET attempts = attempts + 1, try_after = clock_timestamp() + make_interval(secs => :held)
    FROM due, ingestion.sites s WHERE w.sync_id = due.sync_id AND s.id = w.site_id
    RETURNING w.sync_id, w.body, w.attempts, s.webhook_url, s.webhook_secret
""")
_END = sa.text("""
    UPDATE ingestion.module_webhooks SET state = :state, error = :error,
        ended_at = CASE WHEN :state <> 'waiting' THEN clock_timestamp() END,
        try_after = clock_timestamp() + make_interval(secs => :delay)
    WHERE sync_id = :sync_id AND state = 'waiting' AND attempts = :attempts
""")


@dataclass(frozen=True, slots=True)
class Call:
    """One webhook that is due. `sealed`: the secret it is signed with, as it is kept."""

    sync_id: UUID
    body: str
    attempts: int
    url: str
    sealed: str


def announce(connection: sa.Connection, *, site_id: int, sync_id: UUID, result: Mapping[str, Any]) -> None:
    """Note that a site's webhook, if it has one, is to be told of a sync; repeating it changes nothing."""
    body = json.dumps({"type": "modules.synced", "data": result}, separators=(",", ":"))
    connection.execute(_ANNOUNCE, {"sync_id": sync_id, "site_id": site_id, "body": body})


def take_due(engine: sa.Engine) -> list[Call]:
    """Webhooks that are due, held for this process for `HELD_S` seconds."""
    with engine.begin() as connection:
        return [Call(*row) for row in connection.execute(_TAKE, {"held": HELD_S})]


def end(engine: sa.Engine, call: Call, *, error: str | None) -> None:
    """Note how a call went: delivered, to be tried again (5 s, 10 s, 20 s … later), or given up.

    Of a process that stood still until another made the next try nothing is noted.
    """
    state = "delivered" if error is None else "failed" if call.attempts >= MAX_ATTEMPTS else "waiting"
    values = {
        "sync_id": call.sync_id,
        "attempts": call.attempts,
        "state": state,
        "error": error,
        "delay": FIRST_DELAY_S * 2 ** (call.attempts - 1),
    }
    with engine.begin() as connection:
        connection.execute(_END, values)


def signature(*, secret: str, at: int, body: str) -> str:
    """The value of `Webhook-Signature`."""
    digest = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def deliver(call: Call, *, sealer: Sealer, allowed: Allowed) -> str | None:
    """Make one call; what went wrong, or None."""
    try:
        secret = sealer.open(call.sealed)
        target = await resolved(call.url, allowed)
        headers = {
            "Content-Type": "application/json",
            "Host": target.host,
            "Webhook-Id": str(call.sync_id),
            "Webhook-Signature": signature(secret=secret, at=int(time.time()), body=call.body),
        }
        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            request = client.build_request(
                "POST", target.url, content=call.body, headers=headers,
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
