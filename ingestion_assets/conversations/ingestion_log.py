"""What a batch came to: its result body, its entry in `ingestion_logs`, and the log that /status shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from pymongo import ReplaceOne
from pymongo.database import Database

from ingestion_assets.conversations.messages import BatchOutcome
from ingestion_assets.conversations.schema import BatchIngestResponse, IngestStats
from ingestion_assets.conversations.statistics import Created
from ingestion_assets.landing.drops import DropOutcome
from ingestion_assets.stores.mongo import INGESTION_LOGS


def outcome_of(
    batch: BatchOutcome, *, created: Created, todos: int, config_updated: bool, finished_at: datetime
) -> DropOutcome:
    """The outcome of one drop, with the result body that its client gets. `duration_ms` counts from acceptance."""
    stats = IngestStats(
        messages_received=len(batch.records),
        messages_processed=batch.count("stored"),
        messages_skipped=batch.count("duplicate"),
        messages_failed=batch.count("rejected"),
        sessions_created=created.sessions_created,
        sessions_updated=created.sessions_updated,
        todos_processed=todos,
        config_updated=config_updated,
        projects_created=created.projects_created,
        duration_ms=max(0, round((finished_at - batch.drop.received_at).total_seconds() * 1000)),
    )
    failed = stats.messages_failed
    response = BatchIngestResponse(
        success=True,
        stats=stats,
        message="Batch ingestion completed successfully"
        if not failed
        else f"Batch ingestion completed; {failed} of {stats.messages_received} messages failed",
        errors=batch.errors or None,
        warnings=batch.warnings or None,
    )
    return DropOutcome(
        batch.drop.id, msgspec.to_builtins(response), batch.records, batch.rejects, batch.errors
    )


def write_log(
    *, database: Database[Any], outcomes: Sequence[DropOutcome], received: Mapping[UUID, datetime]
) -> None:
    """One entry a drop (its id is the entry's), so that a repetition replaces and never doubles it."""
    if not outcomes:
        return
    now = datetime.now(UTC)
    database[INGESTION_LOGS].bulk_write(
        [
            ReplaceOne(
                {"_id": str(outcome.drop_id)},
                {"timestamp": received[outcome.drop_id], "finishedAt": now, **outcome.result["stats"]},
                upsert=True,
            )
            for outcome in outcomes
        ],
        ordered=False,
    )
