"""The spine's vocabulary: what a payload is called on its way from acceptance to outcome. No I/O here.

What is made for each request is a `msgspec.Struct`, which takes a fifth of the time that a frozen dataclass takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

State = Literal["landed", "claimed", "held", "done", "failed"]


class NewDrop(msgspec.Struct, frozen=True, kw_only=True):
    """A payload as the front door hands it over: decoded, authenticated, not yet durable.

    `body` is what is kept untouched; `records` counts the records inside; `attributes` are small facts that later
    stages want (content type, client version, remote address…).
    """

    flow: str
    partition: str
    lane: str
    principal: str
    body: bytes
    records: int
    subject: str | None = None
    idempotency_key: str | None = None
    attributes: Mapping[str, str] = msgspec.field(default_factory=dict)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a `NewDrop` once its bytes are durable.

    `replayed`: the idempotency key was known, `id` is the first receipt. `registered` is False while the ledger
    is down: the payload is safe on landing storage and gets its row later, under the same id.
    """

    id: UUID
    flow: str
    partition: str
    subject: str | None
    records: int
    size_bytes: int
    received_at: datetime
    replayed: bool = False
    registered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedDrop:
    """A drop as a run sees it, with its bytes."""

    id: UUID
    flow: str
    partition: str
    lane: str
    principal: str
    subject: str | None
    received_at: datetime
    attributes: Mapping[str, str]
    records: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The ledger's word on one accepted payload."""

    id: UUID
    state: State
    flow: str
    partition: str
    lane: str
    subject: str | None
    principal: str
    records: int
    size_bytes: int
    attempts: int
    received_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    run_id: str | None
    result: dict[str, Any] | None
    errors: list[dict[str, Any]] | None
    wanted: Literal["pause", "cancel"] | None = None
    progress: dict[str, Any] | None = None
    """The newest state that its run told: `number` (from 1), `at`, `state`."""


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """What became of one record of a payload, at its position in input order.

    `superseded`: something newer is stored already, accepted with the receipt `superseded_by`; the record changed nothing.
    """

    status: Literal["stored", "duplicate", "superseded", "rejected"]
    id: str | None = None
    duplicate_of: str | None = None
    code: str | None = None
    reason: str | None = None
    superseded_by: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A record kept whole because it could not be stored. Kinds: `invalid`, `conflict`, `payload`."""

    position: int
    kind: str
    code: str
    reason: str
    record: bytes


@dataclass(frozen=True, slots=True)
class DropOutcome:
    """Everything a run has to say of one drop. `errors` go into the receipt, `failed` ends the drop as failed.

    `held`: nothing was done; the drop waits until somebody says that it may go on. `unfinished`: the run stops at a safe
    point; the drop goes back, which costs it no attempt, and the next run goes on where this one was.
    """

    drop_id: UUID
    result: Mapping[str, Any]
    records: Sequence[RecordOutcome] = ()
    rejects: Sequence[Reject] = ()
    errors: Sequence[Mapping[str, Any]] = ()
    failed: bool = False
    held: bool = False
    unfinished: bool = False

    @property
    def state(self) -> State:
        """The state that the drop gets; one that is unfinished, unless something else is wanted of it."""
        if self.unfinished:
            return "landed"
        return "failed" if self.failed else "held" if self.held else "done"


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


class UncertainLandingError(LandingUnavailableError):
    """Landing storage failed so late that nobody can tell whether the bytes are there: they may be found and ingested, or not."""
