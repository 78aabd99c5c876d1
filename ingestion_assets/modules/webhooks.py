"""What sites' webhooks are to be told: written with the sync, so that none is lost, and taken by whoever sends it (`web.webhook_delivery`).

One may be sent twice. How a call went is noted only by whoever made the newest try.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

MAX_ATTEMPTS = 8
FIRST_DELAY_S = 5
HELD_S = 60
PREFIX = "whsec_"

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


def new_secret() -> str:
    """A secret as the receiver's library wants it: base64 after its prefix."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def announce(
    connection: sa.Connection, *, site_id: int, sync_id: UUID, result: Mapping[str, Any], at: datetime
) -> None:
    """Note that a site's webhook, if it has one, is to be told of a sync; repeating it changes nothing."""
    told = {"type": "modules.synced", "timestamp": at.isoformat(), "data": result}
    body = json.dumps(told, separators=(",", ":"))
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
