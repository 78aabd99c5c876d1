"""How the outcomes of a payload's records are kept: one packed value a payload, in the order of its records."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import zstandard

from ingestion_assets.landing.drop_outcomes import RecordOutcome

AT_ONCE = 5
FIELDS = ("status", "id", "duplicate_of", "code", "reason", "superseded_by")

_READ = sa.text(
    "SELECT drop_id, outcomes FROM ingestion.receipt_records WHERE drop_id = ANY(:ids) FOR UPDATE"
)
_LOOK = sa.text("SELECT drop_id, outcomes FROM ingestion.receipt_records WHERE drop_id = ANY(:ids)")
_WRITE = sa.text("UPDATE ingestion.receipt_records SET outcomes = :outcomes WHERE drop_id = :drop_id")


def pack(records: Sequence[RecordOutcome]) -> bytes:
    """The outcomes as they are kept."""
    return zstandard.compress(
        msgspec.json.encode(
            [[r.status, r.id, r.duplicate_of, r.code, r.reason, r.superseded_by] for r in records]
        )
    )


def unpack(packed: bytes) -> list[list[Any]]:
    """The outcomes, each with its fields in the order of `FIELDS`; older ones lack the last."""
    return msgspec.json.decode(zstandard.decompress(packed))


def rejected_with(
    connection: sa.Connection, drop_ids: Sequence[UUID], *, code: str
) -> dict[UUID, dict[int, str]]:
    """The records of finished payloads that were rejected with a code, by their place, and the reasons."""
    found: dict[UUID, dict[int, str]] = {}
    for start in range(0, len(drop_ids), AT_ONCE):
        for drop_id, packed in connection.execute(_LOOK, {"ids": list(drop_ids[start : start + AT_ONCE])}):
            outcomes = enumerate(RecordOutcome(*one) for one in unpack(packed))
            found[drop_id] = {at: one.reason or "" for at, one in outcomes if one.code == code}
    return found


def revise(
    connection: sa.Connection,
    drop_ids: Sequence[UUID],
    change: Callable[[UUID, list[RecordOutcome]], list[RecordOutcome]],
) -> None:
    """Change what finished payloads say of their records, some payloads at a time. Unknown ones are left out."""
    for start in range(0, len(drop_ids), AT_ONCE):
        rows = connection.execute(_READ, {"ids": list(drop_ids[start : start + AT_ONCE])}).all()
        changed = [
            {
                "drop_id": drop_id,
                "outcomes": pack(change(drop_id, [RecordOutcome(*one) for one in unpack(packed)])),
            }
            for drop_id, packed in rows
        ]
        if changed:
            connection.execute(_WRITE, changed)
