"""What a payload's load came to, in the words of the contract: its result body, the outcome of each record, its rejects."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import msgspec

from ingestion_assets.entities.loaded import Counts, Fault, Loaded, Refusal
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome, Reject

LISTED = 10_000
"""Errors listed in a result at most; all of them are among the rejects."""
LISTED_BYTES = 16 * 2**20
"""Of their lines."""
QUOTED_BYTES = 64 * 1024
"""Of a line, in a result."""
_STORED = RecordOutcome("stored")
WAITS = "waits_for_reference"
_WAITS = "decided when its stream ends"


def outcome_of(loaded: Loaded, *, received_at: datetime, finished_at: datetime) -> DropOutcome:
    """Everything a run has to say of one payload. `duration_ms` counts from acceptance."""
    total = loaded.total()
    listed = _listed(loaded.faults)
    counts = {name: getattr(total, name) for name in total.__struct_fields__}
    result: dict[str, Any] = {
        "status": _status(total),
        **counts,
        "superseded_by": {str(newer): len(records) for newer, records in loaded.superseded.items()},
        "errors": [error_of(fault) for fault in loaded.faults[:listed]],
        "errors_not_listed": len(loaded.faults) - listed,
        "by_entity": {name: msgspec.to_builtins(each) for name, each in loaded.entities.items()},
        "duration_ms": max(0, round((finished_at - received_at).total_seconds() * 1000)),
    }
    if loaded.stream is not None:
        result |= {"stream": loaded.stream, "ended": loaded.ended}
    if loaded.refused:
        reason = f"{len(loaded.faults)} lines cannot be stored, more than are allowed; nothing of the payload was stored"
        result["message"] = reason
        return DropOutcome(
            loaded.drop_id, result, _records(loaded), [Reject(-1, "payload", "too_many_errors", reason, b"")],
            [{"code": "too_many_errors", "reason": reason}], failed=True,
        )  # fmt: skip
    rejects = [
        Reject(_position(loaded, fault, place), "invalid", fault.code, _reason(fault), fault.raw)
        for place, fault in enumerate(loaded.faults)
    ]
    return DropOutcome(loaded.drop_id, result, _records(loaded), rejects)


def _status(total: Counts) -> str:
    """One word: what is older than what is stored was not stored, and is no error either."""
    stored = total.inserted + total.updated + total.unchanged + total.waiting
    if not total.failed:
        return "success" if not total.superseded else "partial" if stored else "superseded"
    return "partial" if stored + total.superseded else "error"


def error_of(fault: Fault) -> dict[str, Any]:
    """One entry of `errors`."""
    return {
        "line_number": fault.line,
        "byte_offset": fault.offset,
        "entity": fault.entity,
        "field": fault.field,
        "code": fault.code,
        "message": fault.message,
        "line": _quoted(fault.raw),
    }


def _listed(faults: Sequence[Fault]) -> int:
    """How many errors a result lists, which must not grow beyond what the ledger can hold."""
    sizes = accumulate(min(len(fault.raw), QUOTED_BYTES) for fault in faults[:LISTED])
    return sum(1 for size in sizes if size <= LISTED_BYTES)


def _quoted(raw: bytes) -> str:
    """A line as results quote it; the reject has the whole of it."""
    text = raw[:QUOTED_BYTES].decode(errors="replace").replace("\0", "\ufffd")
    return text if len(raw) <= QUOTED_BYTES else f"{text}…"


def _position(loaded: Loaded, fault: Fault, place: int) -> int:
    """The record's index; lines that waited in a stream come after the records of the payload that ended it."""
    return fault.record if fault.record >= 0 else loaded.records + place


def _reason(fault: Fault) -> str:
    return f"line {fault.line}, byte {fault.offset}: {fault.message}".replace("\0", "\ufffd")


def _records(loaded: Loaded) -> list[RecordOutcome]:
    if loaded.refused:
        refused = RecordOutcome(
            "rejected", code="payload_refused", reason="the payload has more errors than are allowed"
        )
        outcomes = [refused] * loaded.records
    elif loaded.ids is not None:
        outcomes = [RecordOutcome("stored", name) for name in loaded.ids]
    else:
        outcomes = [_STORED] * loaded.records
    for fault in loaded.faults:
        if fault.record >= 0:
            outcomes[fault.record] = RecordOutcome(
                "rejected", code=fault.code, reason=fault.message.replace("\0", "\ufffd")
            )
    for newer, superseded in loaded.superseded.items():
        for record in superseded:
            outcomes[record] = RecordOutcome("superseded", outcomes[record].id, superseded_by=str(newer))
    for record in loaded.waiting:
        waits = RecordOutcome("rejected", outcomes[record].id, code=WAITS, reason=_WAITS)
        outcomes[record] = waits
    return outcomes


def settled(records: Sequence[RecordOutcome], refused: Mapping[int, Refusal]) -> list[RecordOutcome]:
    """What became of a payload's records once their stream has ended: those that waited are stored, or refused after all."""
    return [one if one.code != WAITS else _settled(one.id, refused.get(at)) for at, one in enumerate(records)]


def _settled(name: str | None, refused: Refusal | None) -> RecordOutcome:
    if refused is None:
        return RecordOutcome("stored", name)
    if refused.superseded_by is not None:
        return RecordOutcome("superseded", name, superseded_by=str(refused.superseded_by))
    return RecordOutcome("rejected", name, code=refused.code, reason=refused.message.replace("\0", "\ufffd"))
