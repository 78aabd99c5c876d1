"""What counts as the front door's own answer: the one place that says so, for every flow's sender. Nothing is sent here.

Login pages, proxies and other services answer too, often with 200. The front door's word is a JSON object that holds
what was asked for (of a payload its receipt), or a problem (RFC 9457); all else acknowledges and refuses nothing.
"""

import email.utils
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

LONGEST_PAUSE_ASKED_S = 3600.0
"""However long `Retry-After` says, it is looked again after an hour."""
_STATES = frozenset({"landed", "claimed", "held", "done", "failed"})
_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")

Body = dict[str, Any]
Proof = Callable[["Heard", Body], bool]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back over the wire, from whomever."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The front door's own answer; one of a payload that it keeps names the `receipt`.

    `own` is false where something before the front door will not take what was sent.
    """

    status: int
    body: Body
    receipt: str = ""
    replayed: bool = False
    own: bool = True

    @property
    def succeeded(self) -> bool:
        return self.status in {200, 202}

    @property
    def detail(self) -> str:
        """Of a problem, what it says, and the first of what it found."""
        found = self.body.get("errors")
        listed = [one for one in found if isinstance(one, dict)][:5] if isinstance(found, list) else []
        places = [
            f"{'.'.join(map(str, one['loc']))}: {one.get('msg')}"
            for one in listed
            if isinstance(one.get("loc"), list)
        ]
        return "; ".join([one_line(str(self.body.get("detail"))), *map(one_line, places)])


def own_answer(heard: Heard, *, proof: Proof) -> Answer | None:
    """The answer, if it is the front door's own; `proof` says whether a success holds what was asked for."""
    media_type = heard.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = _json_object(heard.content) if media_type.endswith("json") else None
    if body is None:
        return None
    if heard.status in {200, 202}:
        if not proof(heard, body):
            return None
        replayed = heard.headers.get("idempotent-replayed", "").lower() == "true"
        return Answer(heard.status, body, receipt_of(heard, body) or "", replayed)
    problem = media_type == "application/problem+json" and body.get("status") == heard.status
    return Answer(heard.status, body) if problem and isinstance(body.get("detail"), str) else None


def receipt_of(heard: Heard, body: Body) -> str | None:
    """Id of the receipt that an answer to a payload is, or whose result it is; its headers name it too."""
    if _is_state(body.get("state")):
        found = body.get("id")
        located = heard.headers.get("location", "").rstrip("/").rpartition("/receipts/")[2]
        if found not in (heard.headers.get("x-receipt-id"), located):
            return None
    else:
        found = heard.headers.get("x-receipt-id")
    return found if _is_uuid(found) else None


def holds_receipt(heard: Heard, body: Body) -> bool:
    """Of an answer to a payload."""
    return receipt_of(heard, body) is not None


def is_receipt(receipt_id: str) -> Proof:
    """Of an answer to the question for a receipt."""
    return lambda _heard, body: body.get("id") == receipt_id and _is_state(body.get("state"))


def is_page(_heard: Heard, body: Body) -> bool:
    """Of a list."""
    items = body.get("items")
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as `Retry-After` says, in either of its forms (RFC 9110 10.2.3), at most an hour; None where it says nothing."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_PAUSE_ASKED_S)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:  # `-0000`: UTC, from who knows where
            moment = moment.replace(tzinfo=UTC)
        wait_s = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0.0, wait_s), LONGEST_PAUSE_ASKED_S)


def one_line(text: str, *, most: int = 1000) -> str:
    """Text from elsewhere as it may be shown: on one line, nothing that a terminal obeys."""
    return "".join(one if one.isprintable() else " " for one in text[:most])


def _json_object(content: bytes) -> Body | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_state(value: object) -> bool:
    return isinstance(value, str) and value in _STATES


def _is_uuid(text: object) -> bool:
    try:
        return isinstance(text, str) and str(UUID(text)) == text
    except ValueError:
        return False
