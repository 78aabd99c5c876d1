"""Which addresses a host has, resolved once and checked: git is given these and asks nobody itself."""

import ipaddress
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ingestion_assets.public_addresses import is_public

RESOLVE_S = 10.0
Lookup = Callable[[str, int], Iterable[str]]


class ForbiddenAddress(ValueError):  # noqa: N818 - the name other modules agreed on
    """A host that has no address, or one that may not be reached."""


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver knows."""
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def resolve(host: str, port: int, *, private: bool = False, lookup: Lookup = system_lookup) -> list[str]:
    """The addresses of a host. One that is not public refuses all, unless `private`. Raises `ForbiddenAddress`."""
    waiting = ThreadPoolExecutor(1, thread_name_prefix="resolver")
    try:
        found = list(waiting.submit(lookup, host, port).result(RESOLVE_S))
        addresses = [ipaddress.ip_address(one) for one in found]
    except (OSError, UnicodeError, ValueError, TimeoutError) as error:
        raise ForbiddenAddress(f"{host} cannot be resolved: {error or 'no answer in time'}") from error
    finally:
        waiting.shutdown(wait=False)
    if not addresses:
        raise ForbiddenAddress(f"{host} has no address.")
    if not private and not all(map(is_public, addresses)):
        raise ForbiddenAddress(
            f"{host} lies in a private network, or one of its addresses does; INGESTION_REPOSITORIES_PRIVATE_HOSTS names hosts that may."
        )
    return found
