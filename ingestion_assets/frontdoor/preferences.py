"""Request headers that say how a payload is to be taken: `Prefer` (RFC 7240) and `Idempotency-Key`."""

import re
from dataclasses import dataclass
from functools import lru_cache

from ingestion_assets.frontdoor.problems import Problem, error_item

_PREFERENCE = re.compile(
    r'\s*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?[^,]*'
)
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for the outcome, in seconds, and what `Preference-Applied` says of it."""

    seconds: float
    applied: str | None = None


@lru_cache(64)
def waiting(prefer: str | None, default_s: float, max_s: float) -> Waiting:
    """What `Prefer` asks for. What cannot be understood is left aside, as RFC 7240 wants it.

    `respond-async` alone answers at once; `wait=N` waits at most N seconds (also beside `respond-async`, which then
    speaks for the time after them).
    """
    if not prefer:
        return Waiting(default_s)
    given: dict[str, str] = {}
    for part in prefer.split(","):
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
    """The client's key, bare or as the draft's quoted string; 1 to 255 visible characters. Raises `Problem` 400."""
    if value is None:
        return None
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _KEY.fullmatch(key):
        raise Problem(
            400,
            "Idempotency-Key must be 1 to 255 visible ASCII characters.",
            errors=[error_item("header", "Idempotency-Key", msg="not a valid key", type="idempotency_key")],
        )
    return key
