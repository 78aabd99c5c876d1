"""Request headers that say what a payload is and how it is to be taken: media type, coding, `Prefer`, `Idempotency-Key`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ingestion_assets.frontdoor.problems import Problem, error_item

_PREFERENCE = re.compile(
    r'\s*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?[^,]*'
)
_FACTS = {
    b"content-type": "content_type",
    b"user-agent": "user_agent",
    b"x-client-version": "client_version",
}
_CODINGS = {b"": "identity", b"identity": "identity", b"gzip": "gzip", b"x-gzip": "gzip", b"zstd": "zstd"}
IDEMPOTENCY_KEY = r'^[ \t]*(?:([!#-~](?:[ -~]{0,253}[!-~])?)|"((?:[ !#-[\]-~]|\\["\\]){1,255})")[ \t]*$'
"""A key, bare or as the draft's quoted string. Blanks around a header's value are no part of it (RFC 9110, 5.5)."""
_KEY = re.compile(IDEMPOTENCY_KEY)
_ESCAPED = re.compile(r'\\(["\\])')


JSON = frozenset({"application/json"})
ENCODINGS = "gzip, zstd, identity"


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for the outcome, in seconds, and what `Preference-Applied` says of it."""

    seconds: float
    applied: str | None = None


@lru_cache(64)
def waiting(prefer: bytes | None, default_s: float, max_s: float) -> Waiting:
    """What `Prefer` asks for. What cannot be understood is left aside, as RFC 7240 wants it.

    `respond-async` alone answers at once; `wait=N` waits at most N seconds (also beside `respond-async`, which then
    speaks for the time after them).
    """
    if not prefer:
        return Waiting(default_s)
    given: dict[str, str] = {}
    for part in prefer.decode("latin-1").split(","):
        match = _PREFERENCE.match(part)
        if match:
            given.setdefault(match[1].lower(), match[2] or match[3] or "")
    wait = given.get("wait", "")
    if wait.isascii() and wait.isdigit() and len(wait) < 10:
        seconds = min(float(wait), max_s)
        applied = f"wait={seconds:g}"
        return Waiting(seconds, f"respond-async, {applied}" if "respond-async" in given else applied)
    if "respond-async" in given:
        return Waiting(0, "respond-async")
    return Waiting(default_s)


def idempotency_key(value: str | None) -> str | None:
    """The client's key: 1 to 255 visible ASCII characters, blanks between them. Raises `Problem` 400."""
    if value is None:
        return None
    found = _KEY.fullmatch(value)
    if found is None:
        raise Problem(
            400,
            "Idempotency-Key must be 1 to 255 visible ASCII characters.",
            errors=[error_item("header", "Idempotency-Key", msg="not a valid key", type="idempotency_key")],
        )
    bare, quoted = found.groups()
    return bare or _ESCAPED.sub(r"\1", quoted)


def check_media_type(headers: Mapping[bytes, bytes], allowed: frozenset[str] = JSON) -> None:
    """Raises `Problem` 415 for a `Content-Type` that is not `allowed`."""
    _check_media_type(headers.get(b"content-type", b""), allowed)


@lru_cache(64)
def _check_media_type(content_type: bytes, allowed: frozenset[str]) -> None:
    given = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    structured = (
        given.startswith("application/") and given.endswith("+json") and "application/json" in allowed
    )
    if given not in allowed and not structured:
        raise Problem(
            415,
            f"Content-Type must be {' or '.join(sorted(allowed))}.",
            errors=[error_item("header", "Content-Type", msg="not supported", type="media_type")],
        )


def content_coding(headers: Mapping[bytes, bytes]) -> str:
    """`identity`, `gzip` or `zstd`. Raises `Problem` 415."""
    coding = _CODINGS.get(headers.get(b"content-encoding", b"").strip().lower())
    if coding is None:
        raise Problem(
            415,
            f"Content-Encoding must be one of {ENCODINGS}.",
            headers={"Accept-Encoding": ENCODINGS},
            errors=[error_item("header", "Content-Encoding", msg="not supported", type="content_encoding")],
        )
    return coding


def facts_of(headers: Mapping[bytes, bytes], *, client: tuple[str, int] | None) -> dict[str, str]:
    """The small facts that are kept beside a payload: what was sent, by which program, from where."""
    kept = {
        name: headers[header][:256].decode("latin-1").replace("\0", "")
        for header, name in _FACTS.items()
        if header in headers
    }
    if client:
        kept["remote_address"] = client[0]
    return kept
