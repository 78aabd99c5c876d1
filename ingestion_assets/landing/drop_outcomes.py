"""What a run says of payloads: of each as a whole, of its records, and which of them it keeps as rejects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar
from uuid import UUID

from ingestion_assets.landing.drops import State
from ingestion_assets.stores.storable_text import storable, storable_json

LONGEST_REASON = 2000
"""The most characters of a code, a reason or a field in what is said of a record or a payload."""


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


_TEXTS = {"id": None, "duplicate_of": None, "code": LONGEST_REASON, "reason": LONGEST_REASON}
"""What of a record's outcome may come from a payload, and the most characters of it."""


def _told(said: Sequence[Said]) -> Sequence[Said]:
    """The same, with texts that every store can hold. Looks at whole columns, and at single texts only where that tells nothing."""
    changed: dict[int, dict[str, str]] = {}
    for name, longest in _TEXTS.items():
        texts = [getattr(one, name, None) for one in said]
        whole = "".join(filter(None, texts))
        if not whole or (longest is None and whole.isascii() and "\0" not in whole):
            continue
        for at, text in enumerate(texts):
            if text and (able := storable(text, longest=longest)) != text:
                changed.setdefault(at, {})[name] = able
    return [replace(one, **changed.get(at, {})) for at, one in enumerate(said)] if changed else said
