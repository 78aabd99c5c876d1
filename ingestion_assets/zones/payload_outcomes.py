"""What became of a payload's records, in the words of the contract: result, outcome of each record, rejects."""

from collections.abc import Sequence
from typing import Any

from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome, Reject
from ingestion_assets.stores.storable_text import storable
from ingestion_assets.zones.kept import Place
from ingestion_assets.zones.payloads import Payload
from ingestion_assets.zones.record_types import Refusal
from ingestion_assets.zones.tables.target import Stored

LISTED = 1000
"""Errors that a result lists at most; all of them are among the rejects."""
LONGEST_FIELD = 200
_STORED = RecordOutcome("stored")

Said = dict[Place, Refusal | Stored]
"""What became of records by receipt and position, of those that are not simply stored."""


def outcome_of(payload: Payload, said: Said, others: Sequence[int]) -> DropOutcome:
    """Everything to be said of a payload. `others` are the positions of its records that `said` tells of, in order."""
    records = [_STORED] * len(payload.records)
    counts = {"stored": 0, "updated": 0, "duplicate": 0, "superseded": 0, "rejected": 0}
    rejects: list[Reject] = []
    errors: list[dict[str, Any]] = []
    for position in others:
        what = said[payload.id, position]
        if isinstance(what, Stored) and what.status != "rejected":
            counts[what.status] += 1
            by = str(what.by)
            if what.status == "duplicate":
                records[position] = RecordOutcome("duplicate", duplicate_of=by)
            elif what.status == "superseded":
                records[position] = RecordOutcome("superseded", superseded_by=by)
            continue
        counts["rejected"] += 1
        code, reason, field = _refusal(what)
        records[position] = RecordOutcome("rejected", code=code, reason=reason)
        rejects.append(Reject(position, "invalid", code, reason, payload.records[position]))
        if len(errors) < LISTED:
            errors.append({"record": position, "code": code, "field": field, "reason": reason})
    counts["stored"] = len(records) - counts["duplicate"] - counts["superseded"] - counts["rejected"]
    result = {
        "received": len(records),
        **counts,
        "errors": errors,
        "errors_not_listed": len(rejects) - len(errors),
    }
    return DropOutcome(payload.id, result, records=records, rejects=rejects, errors=[])


def _refusal(what: Refusal | Stored) -> tuple[str, str, str | None]:
    if isinstance(what, Refusal):
        field = storable(what.field, longest=LONGEST_FIELD)  # so that a long one leaves room for the reason
        return what.code, f"{field}: {what.reason}" if field else what.reason, field or None
    return what.code or "rejected", what.reason or "it is refused", None
