"""Request heads that HTTP/1.1 forbids though the parser takes them, and what is said of those that are refused (RFC 9112)."""

import re
from collections.abc import Sequence
from http import HTTPMethod

import httptools

from ingestion_assets.frontdoor.problems import Problem

HEAD_BYTES = 64 * 1024
HEAD_LINES = 200
TARGET_BYTES = 32 * 1024
FRAMING = frozenset({b"host", b"transfer-encoding"})

_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::\d*)?"
)
_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) \S+ HTTP/1\.[01]\r\n")
_METHODS = frozenset(method.encode() for method in HTTPMethod)
_COMPRESSIONS = frozenset({b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"})
_VERSIONS = frozenset({"1.0", "1.1"})
_OF_VERSIONS = frozenset({"Invalid HTTP version", "Pause on PRI/Upgrade"})


def refused(status: int, detail: str) -> Problem:
    """An answer after which the connection ends: where the next request begins, nobody can tell."""
    return Problem(status, detail, headers={"Connection": "close"})


def check_framing(version: str, framing: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises `Problem` 400, 501, 505. `framing`: the headers of a head that are in `FRAMING`."""
    if version not in _VERSIONS:
        raise unknown_version()
    hosts = [value for name, value in framing if name == b"host"]
    if len(hosts) > 1:
        raise refused(400, "The request has more than one Host header (RFC 9112, 3.2).")
    if not hosts and version == "1.1":
        raise refused(400, "The request has no Host header (RFC 9112, 3.2).")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise refused(400, "The value of the Host header is no host (RFC 9112, 3.2).")
    if len(framing) > len(hosts):
        _check_codings(version, [value for name, value in framing if name == b"transfer-encoding"])


def _check_codings(version: str, values: Sequence[bytes]) -> None:
    if version == "1.0":
        raise refused(400, "HTTP/1.0 has no Transfer-Encoding (RFC 9112, 6.1).")
    codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
    if codings == [b"chunked"]:
        return
    if codings[-1] == b"chunked" and _COMPRESSIONS.issuperset(codings[:-1]):
        raise refused(501, "Transfer-Encoding may be chunked only; compress with Content-Encoding.")
    raise refused(400, "Transfer-Encoding must be chunked, once and alone (RFC 9112, 6.1).")


def too_large(target: bytes) -> Problem:
    """414 if it is the request target that makes a head too large, else 431."""
    if len(target) > TARGET_BYTES:
        return refused(414, f"The request target is longer than {TARGET_BYTES} bytes.")
    return refused(
        431, f"The request head is larger than {HEAD_BYTES} bytes or has more than {HEAD_LINES} header lines."
    )


def too_slow(seconds: float) -> Problem:
    """408 for a head that was begun."""
    return refused(408, f"The request head did not arrive within {seconds:g} s.")


def unknown_version() -> Problem:
    """505."""
    return refused(505, "This server speaks HTTP/1.1 and HTTP/1.0.")


def no_tunnel() -> Problem:
    """501 for CONNECT."""
    return refused(501, "This server is no proxy: it has no CONNECT.")


def refusal_of(error: httptools.HttpParserError, data: bytes) -> Problem:
    """What is said of `data`, which the parser, or one of its callbacks, did not take. Repeats nothing of it."""
    cause = error.__context__
    if isinstance(cause, Problem):
        return cause
    if isinstance(cause, httptools.HttpParserInvalidURLError | AttributeError | UnicodeDecodeError):
        return refused(400, "The request target is not valid (RFC 9112, 3.2).")
    if isinstance(error, httptools.HttpParserInvalidMethodError) and not _METHODS.issuperset(
        _METHOD.findall(data)
    ):
        return refused(501, "This server does not know that method.")
    reason = str(error)
    if reason in _OF_VERSIONS:
        return unknown_version()
    return refused(400, f"The request is not well-formed HTTP/1.1 (RFC 9112): {reason}.")
