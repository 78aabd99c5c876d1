"""The proxies that the environment names: they stand before other machines, never before this one."""

from urllib.parse import urlsplit

_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


def stand_before(url: str) -> bool:
    """Whether what is asked at `url` goes by them: `trust_env` of a client."""
    return urlsplit(url).hostname not in _THIS_MACHINE
