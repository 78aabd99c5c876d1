"""What each kind of sender puts into a request: its signatures, what it signed, when, and the delivery's id."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from ingestion_assets.zones.verification.config import (
    Config,
    Github,
    Hmac,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
)

_TIME = re.compile(rb"\d{1,13}")
_MILLISECONDS = 10**11  # in seconds that is the year 5138
_ID = re.compile(r"[!-~]{1,200}")
_SCHEME = re.compile(rb"[A-Za-z0-9]+[=,]")
_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha512": 64}

Headers = Mapping[bytes, bytes]
"""By lower-case name."""


class UnverifiedError(Exception):
    """A request whose sender is not known by its signature. `code` is stable; `sentence` says no secret and no right signature."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows. `signatures` are all `encoding` of digests by `algorithm`; `signed` is what they should be of, in parts."""

    signatures: Sequence[bytes]
    signed: Sequence[bytes]
    algorithm: str = "sha256"
    encoding: str = "hex"
    timestamp: datetime | None = None


def presented(config: Config, headers: Headers, body: bytes) -> Presented:
    """Raises `UnverifiedError` for what is missing or malformed. Nothing is checked yet."""
    found = _presented(config, headers, body)
    size = _DIGEST_BYTES[found.algorithm]
    length = 2 * size if found.encoding == "hex" else (size + 2) // 3 * 4
    signatures = [one for one in found.signatures if len(one) == length]
    if not signatures:
        raise UnverifiedError(
            "malformed_signature",
            f"The signature is no {found.encoding} of {size} bytes: it is cut off, or written in another way.",
        )
    return Presented(signatures, found.signed, found.algorithm, found.encoding, found.timestamp)


def _presented(config: Config, headers: Headers, body: bytes) -> Presented:
    match config:
        case Stripe():
            return _stripe(headers, body)
        case StandardWebhooks():
            return _standard_webhooks(headers, body)
        case Slack():
            return _slack(headers, body)
        case Github():
            return _github(headers, body)
        case Shopify():
            return _shopify(headers, body)
        case Hmac():
            return _hmac(config, headers, body)


def _stripe(headers: Headers, body: bytes) -> Presented:
    name = "Stripe-Signature"
    fields = [field.strip().partition(b"=") for field in _needed(headers, name).split(b",")]
    times = [value for key, _, value in fields if key == b"t"]
    if len(times) != 1:
        raise UnverifiedError("missing_timestamp", f"{name} has no time `t=`, or several.")
    signatures = _of_scheme(
        name, "v1=", [key + equals + value for key, equals, value in fields if key != b"t"]
    )
    return Presented(signatures, (times[0], b".", body), timestamp=_time(name, times[0]))


def _standard_webhooks(headers: Headers, body: bytes) -> Presented:
    brand = _brand(headers)
    signatures = _of_scheme(f"{brand}-signature", "v1,", _needed(headers, f"{brand}-signature").split())
    given_id = _needed(headers, f"{brand}-id", "id")
    if (
        b"." in given_id
    ):  # it would not be sure where in what is signed the id ends: the specification forbids it
        raise UnverifiedError("malformed_id", f"{brand}-id has a full stop in it.")
    at = _needed(headers, f"{brand}-timestamp", "timestamp")
    time = _time(f"{brand}-timestamp", at)
    return Presented(signatures, (given_id, b".", at, b".", body), encoding="base64", timestamp=time)


def _slack(headers: Headers, body: bytes) -> Presented:
    signatures = _of_scheme("X-Slack-Signature", "v0=", [_needed(headers, "X-Slack-Signature")])
    at = _needed(headers, "X-Slack-Request-Timestamp", "timestamp")
    return Presented(signatures, (b"v0:", at, b":", body), timestamp=_time("X-Slack-Request-Timestamp", at))


def _github(headers: Headers, body: bytes) -> Presented:
    name = "X-Hub-Signature-256"
    if name.lower().encode() not in headers and b"x-hub-signature" in headers:
        raise UnverifiedError(
            "wrong_algorithm", f"Only X-Hub-Signature, of SHA-1, is there: {name} is needed."
        )
    return Presented(_of_scheme(name, "sha256=", [_needed(headers, name)]), (body,))


def _shopify(headers: Headers, body: bytes) -> Presented:
    # Shopify's "Events" leave out the X-.
    name = "X-Shopify-Hmac-Sha256" if b"x-shopify-hmac-sha256" in headers else "Shopify-Hmac-Sha256"
    return Presented([_needed(headers, name)], (body,), encoding="base64")


def _hmac(config: Hmac, headers: Headers, body: bytes) -> Presented:
    between = rb"," if " " in config.prefix else rb"[,\s]+"
    given = [one.strip() for one in re.split(between, _needed(headers, config.header))]
    signatures = _of_scheme(config.header, config.prefix, [one for one in given if one])
    values, time = {"body": body}, None
    if config.timestamp_header:
        values["timestamp"] = _needed(headers, config.timestamp_header, "timestamp")
        time = _time(config.timestamp_header, values["timestamp"])
    if config.id_header:
        values["id"] = _needed(headers, config.id_header, "id")
    parts = config.parts()
    signed = [values[part] if at % 2 else part.encode() for at, part in enumerate(parts)]
    return Presented(signatures, signed, config.algorithm, config.encoding, time)


def _needed(headers: Headers, name: str, what: str = "signature") -> bytes:
    value = headers.get(name.lower().encode(), b"").strip()
    if not value:
        raise UnverifiedError(f"missing_{what}", f"There is no header {name}, or it is empty.")
    return value


def _of_scheme(name: str, prefix: str, given: Sequence[bytes]) -> list[bytes]:
    """The signatures that begin with the prefix, without it."""
    start = prefix.encode()
    found = [one[len(start) :] for one in given if one.startswith(start)]
    if found:
        return found
    if any(_SCHEME.match(one) for one in given):
        raise UnverifiedError(
            "wrong_algorithm", f"{name} has no signature of the scheme `{prefix}`, only others."
        )
    if not any(given):
        raise UnverifiedError("missing_signature", f"{name} has no signature.")
    raise UnverifiedError("malformed_signature", f"{name} has no signature that begins with `{prefix}`.")


def _time(name: str, given: bytes) -> datetime:
    if not _TIME.fullmatch(given):
        raise UnverifiedError(
            "malformed_timestamp", f"The time in {name} is no number of seconds since 1970."
        )
    seconds = int(given)
    return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS else seconds, UTC)


def _brand(headers: Headers) -> str:
    """`webhook`, or `svix` where that stands in the names of the headers."""
    return "svix" if b"svix-signature" in headers and b"webhook-signature" not in headers else "webhook"


def delivery_id(config: Config, headers: Headers, body: bytes) -> str | None:
    """The sender's name for a delivery, the same whenever it is tried again. Ask once the signature is known to be right.

    Raises `UnverifiedError` for a header that can be no name: without one, each try would be a payload of its own.
    """
    match config:
        case Stripe() | Slack():
            given = _in_body(body, "id" if isinstance(config, Stripe) else "event_id")
            return given if given and _ID.fullmatch(given) else None
        case StandardWebhooks():
            given = _text(headers, f"{_brand(headers)}-id")
        case Github():
            given = _text(headers, "x-github-delivery")
        case Shopify():
            given = _text(headers, "x-shopify-webhook-id") or _text(headers, "shopify-webhook-id")
        case Hmac():
            given = config.id_header and _text(headers, config.id_header.lower())
    if given and not _ID.fullmatch(given):
        raise UnverifiedError(
            "malformed_id",
            "The delivery's id is longer than 200 characters, or has blanks or signs beyond ASCII.",
        )
    return given or None


def idempotency_key(config: Config, delivery: str | None, signed: Sequence[bytes], body: bytes) -> str:
    """The same for a delivery that is tried again, so that it is stored once.

    An id that stands in the body is the sender's own word for this body: where the rest differs the sender has changed it (Stripe
    counts `pending_webhooks` in it), and it is another payload. An id in a header stands for one body only. What has no id goes
    by all that was signed, which does not change with the secret.
    """
    if delivery is None:
        return f"sha256:{_hash(signed)}"
    return f"{delivery}:{_hash((body,))[:16]}" if isinstance(config, Stripe | Slack) else delivery


def _hash(parts: Sequence[bytes]) -> str:
    hashed = sha256()
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def _text(headers: Headers, name: str) -> str:
    return headers.get(name.encode(), b"").strip().decode("latin-1")


def _in_body(body: bytes, name: str) -> str | None:
    """The text of this name in a JSON object."""
    try:
        value = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get(name)
        return None if value is None else msgspec.json.decode(value, type=str)
    except (ValueError, RecursionError):
        return None
