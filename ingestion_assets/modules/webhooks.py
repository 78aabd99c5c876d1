"""Telling a site's webhook that a sync is done: signed, retried, and never sent into private networks unless that is allowed.

What is to be told is written with the sync and sent by any front door, so that none is lost; it may come twice, with the same
`Webhook-Id`. The signature is `Webhook-Signature: t=<unix time>,v1=<hex HMAC-SHA256 of "<t>.<body>">` with the site's secret, which
is kept sealed.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import httpx
import sqlalchemy as sa

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
    WHERE sync_id = :sync_id
""")


class ForbiddenAddressError(ValueError):
    """The webhook's address is not one that may be called; says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One webhook that is due. `sealed`: the secret it is signed with, as it is kept."""

    sync_id: UUID
    body: str
    attempts: int
    url: str
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where a call goes: the address with its host resolved, the `Host` header, and the host's name."""

    url: str
    host: str
    name: str


def announce(connection: sa.Connection, *, site_id: int, sync_id: UUID, result: Mapping[str, Any]) -> None:
    """Note that a site's webhook, if it has one, is to be told of a sync; repeating it changes nothing."""
    body = json.dumps({"type": "modules.synced", "data": result}, separators=(",", ":"))
    connection.execute(_ANNOUNCE, {"sync_id": sync_id, "site_id": site_id, "body": body})


def take_due(engine: sa.Engine) -> list[Call]:
    """Webhooks that are due, held for this process for `HELD_S` seconds."""
    with engine.begin() as connection:
        return [Call(*row) for row in connection.execute(_TAKE, {"held": HELD_S})]


def end(engine: sa.Engine, call: Call, *, error: str | None) -> None:
    """Note how a call went: delivered, to be tried again (5 s, 10 s, 20 s … later), or given up."""
    state = "delivered" if error is None else "failed" if call.attempts >= MAX_ATTEMPTS else "waiting"
    values = {
        "sync_id": call.sync_id,
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


async def deliver(call: Call, *, sealer: Sealer, allow_private: bool) -> str | None:
    """Make one call; what went wrong, or None."""
    try:
        secret = sealer.open(call.sealed)
        target = await _resolved(call.url, allow_private=allow_private)
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


def check_url(url: str) -> None:
    """Raises `ForbiddenAddressError` for what can be no webhook's address."""
    _parsed(url)


def _parsed(url: str) -> tuple[SplitResult, str]:
    """The address in its parts, and the name of its host as DNS and HTTP write it."""
    try:
        parts = urlsplit(url)
        _, name = parts.port, (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:
        raise ForbiddenAddressError(f"a webhook needs a host that can be called: {error}") from error
    if parts.scheme not in {"http", "https"} or not name:
        raise ForbiddenAddressError("a webhook needs an http or https address")
    if parts.username or parts.password:
        raise ForbiddenAddressError("a webhook's address may hold no password")
    return parts, name


async def _resolved(url: str, *, allow_private: bool) -> _Target:
    """The address with its host resolved once and checked, so that it cannot change between check and call."""
    parts, name = _parsed(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ForbiddenAddressError(f"{name} cannot be resolved: {error}") from error
    addresses = [ipaddress.ip_address(one[4][0]) for one in found]
    public = [address for address in addresses if allow_private or is_public(address)]
    if len(public) < len(addresses) or not public:
        raise ForbiddenAddressError(f"{name} lies in a private network")
    literal = f"[{public[0]}]" if public[0].version == 6 else str(public[0])
    host = f"[{name}]" if ":" in name else name
    return _Target(
        url=parts._replace(netloc=f"{literal}:{port}").geturl(),
        host=host if parts.port is None else f"{host}:{parts.port}",
        name=name,
    )


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address can be reached from anywhere and stands for nothing else."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_public(inner)
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast
