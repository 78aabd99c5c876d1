"""One site's inventory over a delivery: what the server knows of it, a sync sent and followed until its outcome is known."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from ingestion_assets.sending.delivery import Delivery
from ingestion_assets.sending.endings import AccessDeniedError, GaveUpError, RejectedError

REFUSED_STATUS = frozenset({400, 404, 413, 422})
_UNFINISHED = frozenset({"landed", "claimed"})


def known_modules(delivery: Delivery, site: int) -> list[dict[str, Any]]:
    """What the server knows to be installed. Raises as `sync`."""
    try:
        return delivery.items(f"/api/v1/sites/{site}/modules", params={"removed": "false"})
    except LookupError as error:
        raise RejectedError(f"404: {error}") from error


def sync(
    delivery: Delivery, site: int, body: Mapping[str, Any], *, confirm_removals: bool, patience_s: float
) -> dict[str, Any]:
    """Send a sync and wait for its outcome: the result, or the receipt of one that is held.

    Raises RejectedError, GaveUpError, AccessDeniedError, StoppedError.
    """
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    digest = hashlib.sha256(content).hexdigest()[:40]
    answer = delivery.submit(
        f"/api/v1/sites/{site}/modules/sync",
        refusals=REFUSED_STATUS,
        params={"confirm_removals": str(confirm_removals).lower()},
        content=content,
        headers={
            "Content-Type": "application/json",
            "Prefer": "wait=30",  # less than an answer is waited for
            "Idempotency-Key": f"send-{site}-{confirm_removals:d}-{digest}",
        },
    )
    if not answer.succeeded:
        if not answer.own:
            raise AccessDeniedError(answer.detail)
        raise RejectedError(f"{answer.status}: {answer.detail}")
    if "state" not in answer.body or answer.body.get("id") != answer.receipt:
        return answer.body
    state, result, errors = answer.body["state"], answer.body.get("result"), answer.body.get("errors")
    began, pause_s = time.monotonic(), 0.05
    while state in _UNFINISHED or state == "unknown":
        if time.monotonic() - began > patience_s:
            raise GaveUpError(
                f"accepted, but the outcome is not known after {patience_s:.0f} s: receipt {answer.receipt}"
            )
        delivery.pause(pause_s)
        pause_s = min(1.0, pause_s * 2)
        now = delivery.receipt(answer.receipt, wait_s=min(30.0, patience_s))
        state, result, errors = now.state, now.result, now.errors
    if state == "failed":
        said = "; ".join(
            str(one.get("reason") or one.get("msg") or one) if isinstance(one, dict) else str(one)
            for one in errors or ()
        )
        raise RejectedError(f"the sync was kept but failed: {said}")
    return answer.body | {"state": "held"} if state == "held" else result or {}
