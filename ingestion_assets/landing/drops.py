"""The spine's vocabulary: what a payload is called on its way from acceptance to outcome. No I/O here.

The facts of a payload are written once, in `DropFacts`: what stands before its body on landing storage, its row, and all that is
made of the row have them from there. What is made for each request is a `msgspec.Struct`, which takes a fifth of the time
that a frozen dataclass takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec

from ingestion_assets.stores.storable_text import storable, storable_json

State = Literal["landed", "claimed", "held", "done", "failed"]

HELD = "held"
"""The attribute of a payload that waits, from its landing on, until somebody lets it go on (`holding`); its text says until when."""
LONGEST_REASON = 2000
"""The most characters of a code, a reason or a field in what is said of a record or a payload."""
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

    Texts may come from a payload: here, where the outcomes of all flows pass, they become such that every store can hold them, and
    those of rejects and errors are cut to `LONGEST_REASON`.
    """

    drop_id: UUID
    result: Mapping[str, Any]
    records: Sequence[RecordOutcome] = ()
    rejects: Sequence[Reject] = ()
    errors: Sequence[Mapping[str, Any]] = ()
    failed: bool = False
    held: bool = False
    unfinished: bool = False

    def __post_init__(self) -> None:
        result = storable_json(self.result)
        if listed := result.get("errors"):
            result["errors"] = storable_json(listed, longest=LONGEST_REASON)
        object.__setattr__(self, "result", result)
        object.__setattr__(self, "records", _told(self.records))
        object.__setattr__(self, "rejects", _told(self.rejects))
        object.__setattr__(self, "errors", storable_json(self.errors, longest=LONGEST_REASON))

    @property
    def state(self) -> State:
        """The state that the drop gets; one that is unfinished, unless something else is wanted of it."""
        if self.unfinished:
            return "landed"
        return "failed" if self.failed else "held" if self.held else "done"


Said = TypeVar("Said", RecordOutcome, Reject)


def _told(said: Sequence[Said]) -> Sequence[Said]:
    """The same, with codes and reasons that every store can hold."""
    changed: dict[int, Said] = {}
    for at, one in enumerate(said):
        if one.reason or one.code:
            code = one.code and storable(one.code, longest=LONGEST_REASON)
            reason = one.reason and storable(one.reason, longest=LONGEST_REASON)
            if (code, reason) != (one.code, one.reason):
                changed[at] = replace(one, code=code, reason=reason)
    return [changed.get(at, one) for at, one in enumerate(said)] if changed else said


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
