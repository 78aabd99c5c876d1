"""What becomes of one batch, record by record, while its messages are stored."""

from dataclasses import dataclass, field
from typing import Any

from ingestion_assets.conversations.facts_table import Key, Origin
from ingestion_assets.conversations.parts import Parts
from ingestion_assets.conversations.records import Invalid, Record
from ingestion_assets.landing.drop_outcomes import RecordOutcome, Reject
from ingestion_assets.landing.drops import LandedDrop


@dataclass(slots=True)
class BatchOutcome:
    """What became of one batch. `records` and `sessions` are the same however often the batch is repeated.

    `sessions` are those that got messages from it. `parts` (todo lists and configuration) are judged but not stored here.
    """

    drop: LandedDrop
    records: list[RecordOutcome]
    parts: Parts
    rejects: list[Reject] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    shapes: set[tuple[Any, ...]] = field(default_factory=set)

    def count(self, status: str) -> int:
        """Records with this status: `stored`, `duplicate` (conflicts included) or `rejected`."""
        return sum(outcome.status == status for outcome in self.records)


@dataclass(slots=True)
class Item:
    batch: BatchOutcome
    position: int
    raw: bytes
    record: Record
    origin: Origin
    document: bytes
    fence: int

    @property
    def key(self) -> Key:
        return self.record.session_id, self.record.uuid


def note_stored(item: Item) -> None:
    item.batch.records[item.position] = RecordOutcome("stored", item.record.id)
    if item.record.session_id:
        item.batch.sessions.add(item.record.session_id)


def note_repeated(item: Item, first: Origin, *, same: bool) -> None:
    batch, position, record = item.batch, item.position, item.record
    if same:
        batch.records[position] = RecordOutcome("duplicate", record.id, str(first.drop_id))
        return
    reason = "Another message with this session and uuid but other content came first and stays."
    batch.records[position] = RecordOutcome("duplicate", record.id, str(first.drop_id), "conflict", reason)
    batch.rejects.append(Reject(position, "conflict", "conflict", reason, item.raw))
    batch.warnings.append({"index": position, "uuid": record.uuid, "code": "conflict", "reason": reason})


def note_invalid(batch: BatchOutcome, position: int, raw: bytes, invalid: Invalid) -> None:
    batch.records[position] = RecordOutcome("rejected", code=invalid.code, reason=invalid.reason)
    batch.rejects.append(Reject(position, "invalid", invalid.code, invalid.reason, raw))
    batch.errors.append(
        {"index": position, "uuid": invalid.uuid, "code": invalid.code, "reason": invalid.reason}
    )


def note_warnings(batch: BatchOutcome, position: int, record: Record) -> None:
    """One entry a code (and type), with the first index and a count: a whole file may be odd in the same way."""
    for code in record.warnings:
        kind = record.type if code == "unknown_type" else None
        for warning in batch.warnings:
            if warning["code"] == code and warning.get("type") == kind:
                warning["count"] += 1
                break
        else:
            warning = {"index": position, "uuid": record.uuid, "code": code, "count": 1}
            batch.warnings.append(warning | ({"type": kind} if kind else {}))
