"""The spine's vocabulary: what a payload is called on its way from acceptance to outcome. No I/O here.

The facts of a payload are written once, in `DropFacts`: what stands before its body on landing storage, its row, and all that is
made of the row have them from there. What is made for each request is a `msgspec.Struct`, which takes a fifth of the time
that a frozen dataclass takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

State = Literal["landed", "claimed", "held", "done", "failed"]

HELD = "held"
"""The attribute of a payload that waits, from its landing on, until somebody lets it go on (`holding`); its text says until when."""
PRIORITY = "priority"
"""The attribute with a payload's own priority, a whole number, which is added to its flow's."""


class DropFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a payload when it comes.

    `records` counts the records inside; `attributes` are small facts that later stages want (content type, client version, remote
    address…). One more fact is a field here, None by default for the payloads that lack it, and a migration that adds the column.
    """

    flow: str
    partition: str
    lane: str
    principal: str
    records: int
    subject: str | None = None
    idempotency_key: str | None = None
    attributes: Mapping[str, str] = {}


class NewDrop(DropFacts, frozen=True, kw_only=True):
    """A payload as the front door hands it over: decoded, authenticated, not yet durable. `body` is kept untouched."""

    body: bytes


class AcceptedFacts(DropFacts, frozen=True):
    """What is known of a payload from its acceptance on: the id of its receipt, and when it came."""

    id: UUID
    received_at: datetime


def accepted_facts(drop: AcceptedFacts) -> dict[str, Any]:
    """These facts alone, to make something else of."""
    return {name: getattr(drop, name) for name in AcceptedFacts.__struct_fields__}


class Header(AcceptedFacts, frozen=True, omit_defaults=True):
    """What stands before a body in a segment: all that the ledger must know. `length`: of the body as it stands there."""

    sha256: bytes
    size: int
    length: int


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a `NewDrop` once its bytes are durable.

    `replayed`: the idempotency key was known, `id` is the first receipt. `registered` is False while the ledger
    is down: the payload is safe on landing storage and gets its row later, under the same id.
    """

    id: UUID
    header: Header
    replayed: bool = False
    registered: bool = True


class LandedDrop(AcceptedFacts, frozen=True):
    """A drop as a run sees it, with its bytes."""

    body: bytes


class Receipt(AcceptedFacts, frozen=True):
    """The ledger's word on one accepted payload."""

    state: State
    size_bytes: int
    attempts: int
    claimed_at: datetime | None
    finished_at: datetime | None
    run_id: str | None
    result: dict[str, Any] | None
    errors: list[dict[str, Any]] | None
    wanted: Literal["pause", "cancel"] | None = None
    progress: dict[str, Any] | None = None
    """The newest state that its run told: `number` (from 1), `at`, `state`."""


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """What may not run side by side: one lease, one run at a time."""

    flow: str
    partition: str
    name: str


class IdempotencyConflictError(Exception):
    """The idempotency key was used before with another body."""


class LandingUnavailableError(Exception):
    """Landing storage cannot take or give bytes now (full, read-only, unreachable). Nothing was accepted, nothing is lost."""


class NotYetError(Exception):
    """Payloads cannot be worked on now, and not for anything that is wrong with them: they wait until somebody has mended what is."""


class UncertainLandingError(LandingUnavailableError):
    """Landing storage failed so late that nobody can tell whether the bytes are there: they may be found and ingested, or not."""
