"""The check: a request is signed with one of a zone's secrets, and its time is about now."""

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ingestion_assets.zones.verification.config import Config, Github, Shopify
from ingestion_assets.zones.verification.senders import (
    Headers,
    Presented,
    UnverifiedError,
    delivery_id,
    idempotency_key,
    presented,
)


@dataclass(frozen=True, slots=True)
class Verified:
    """A delivery of the sender. `delivery_id` is the sender's name for it, if it has one; `timestamp` when it was signed.

    With `idempotency_key` it lands once, however often it is tried.
    """

    delivery_id: str | None
    timestamp: datetime | None
    idempotency_key: str


def verify(config: Config, keys: Sequence[bytes], headers: Headers, body: bytes, now: datetime) -> Verified:
    """Whose delivery this is. `keys` are of `keys_of`; any of them may have signed. `body` as it came, decompressed.

    Raises `UnverifiedError` with one of these codes: `no_secret`; `missing_signature`, `missing_timestamp`, `missing_id`;
    `malformed_signature`, `malformed_timestamp`, `malformed_id`; `wrong_algorithm`, `wrong_signature`; `stale_timestamp`,
    `future_timestamp`, which are of genuine signatures.
    """
    if not keys:
        raise UnverifiedError("no_secret", "The zone has no secret to verify signatures with.")
    shown = presented(config, headers, body)
    if not any(_signed_with(key, shown) for key in keys):
        raise UnverifiedError(
            "wrong_signature", "The signature is not of this body, or not by a secret of the zone."
        )
    if shown.timestamp is not None and not isinstance(config, Github | Shopify):
        _check_time((now - shown.timestamp).total_seconds(), config.tolerance_s)
    delivery = delivery_id(config, headers, body)
    return Verified(delivery, shown.timestamp, idempotency_key(config, delivery, shown.signed, body))


def reused_id() -> UnverifiedError:
    """For a delivery whose idempotency key came before with another body: a header that is not signed was changed."""
    return UnverifiedError("reused_id", "A delivery of this id came before with another body.")


def _signed_with(key: bytes, shown: Presented) -> bool:
    made = hmac.new(key, digestmod=shown.algorithm)
    for part in shown.signed:
        made.update(part)
    if shown.encoding == "hex":
        right = made.hexdigest().encode()
        return any(hmac.compare_digest(right, given.lower()) for given in shown.signatures)
    right = base64.b64encode(made.digest())
    return any(hmac.compare_digest(right, given) for given in shown.signatures)


def _check_time(age_s: float, tolerance_s: float) -> None:
    if age_s > tolerance_s:
        raise UnverifiedError(
            "stale_timestamp", f"It was signed {age_s:.0f} s ago; at most {tolerance_s:g} s are allowed."
        )
    if age_s < -tolerance_s:
        raise UnverifiedError(
            "future_timestamp",
            f"It was signed {-age_s:.0f} s from now; at most {tolerance_s:g} s are allowed. Compare the clocks.",
        )
