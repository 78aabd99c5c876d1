"""Which addresses a webhook may have: none in private networks, unless a setting names them.

An address is looked at when the webhook is set up, so that a wrong one is refused with the reason, and again at each call, since what a
name stands for may change. The call goes to the very address that was looked at.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.public_addresses import Address, embedded, is_public

RESOLVE_S = 5.0


class ForbiddenAddressError(ValueError):
    """The webhook's address is not one that may be called; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What may be called beside public addresses: all, hosts by name, networks."""

    everything: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def allows(self, name: str, address: Address) -> bool:
        if self.everything or name in self.hosts or is_public(address):
            return True
        inner = embedded(address) or address
        return any(one in network for network in self.networks for one in (address, inner))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a call goes: the address with its host resolved, the `Host` header, and the host's name."""

    url: str
    host: str
    name: str


def allowed_by(settings: ModulesSettings) -> Allowed:
    """What the settings allow; `INGESTION_WEBHOOKS_ALLOWED` lists hosts and networks."""
    hosts: set[str] = set()
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for one in filter(None, map(str.strip, settings.webhooks_allowed.split(","))):
        try:
            networks.append(ipaddress.ip_network(one, strict=False))
        except ValueError:
            hosts.add(one.lower())
    return Allowed(
        everything=settings.webhooks_allow_private, hosts=frozenset(hosts), networks=tuple(networks)
    )


async def check_address(url: str, allowed: Allowed) -> None:
    """Raises `ForbiddenAddressError` for what can be no webhook's address or lies in a private network.

    A host that cannot be resolved now is let pass: whether it may be called is seen when it is.
    """
    _parsed(url)
    try:
        await resolved(url, allowed)
    except UnresolvedError:
        return


class UnresolvedError(ForbiddenAddressError):
    """Nobody could say which address the host has."""


async def resolved(url: str, allowed: Allowed) -> Target:
    """The address with its host resolved once and checked, so that it cannot change between check and call.

    Raises `ForbiddenAddressError`.
    """
    parts, name = _parsed(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    lookup = asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(lookup, RESOLVE_S)
    except (OSError, UnicodeError, TimeoutError) as error:
        why = str(error) or f"no answer within {RESOLVE_S:g} s"
        raise UnresolvedError(f"{name} cannot be resolved: {why}") from error
    addresses = [ipaddress.ip_address(one[4][0]) for one in found]
    if not addresses or not all(allowed.allows(name, address) for address in addresses):
        raise ForbiddenAddressError(
            f"{name} lies in a private network, or one of its addresses does; INGESTION_WEBHOOKS_ALLOWED names those that may be called"
        )
    literal = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    host = f"[{name}]" if ":" in name else name
    return Target(
        url=parts._replace(netloc=f"{literal}:{port}").geturl(),
        host=host if parts.port is None else f"{host}:{parts.port}",
        name=name,
    )


def _parsed(url: str) -> tuple[SplitResult, str]:
    """The address in its parts, and the name of its host as DNS and HTTP write it."""
    try:
        parts = urlsplit(url)
        _, name = parts.port, (parts.hostname or "").encode("idna").decode("ascii").lower().removesuffix(".")
    except ValueError as error:
        raise ForbiddenAddressError(f"a webhook needs a host that can be called: {error}") from error
    if parts.scheme not in {"http", "https"} or not name:
        raise ForbiddenAddressError("a webhook needs an http or https address")
    if parts.username or parts.password:
        raise ForbiddenAddressError("a webhook's address may hold no password")
    return parts, name
