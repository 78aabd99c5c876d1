"""What a batch came to: its result body, its entry in `ingestion_logs`, and the log that /status shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pymongo.database import Database

from ingestion_assets.conversations.batches import BatchOutcome
from ingestion_assets.conversations.collections import INGESTION_LOGS
from ingestion_assets.conversations.parts import CONFIG
from ingestion_assets.conversations.schema import BatchIngestResponse, IngestStats
from ingestion_assets.conversations.statistics import Created
from ingestion_assets.conversations.todos import Kept
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.stores.fencing import replace_unless_newer

_SUPERSEDED = "What is stored arrived later, with another receipt, and stays."


def outcome_of(
    batch: BatchOutcome, *, created: Created, todos: Kept, config: Kept, finished_at: datetime
) -> DropOutcome:
    """The outcome of one drop, with the result body that its client gets. `duration_ms` counts from acceptance."""
    unstorable = batch.parts.unstorable
    stats = IngestStats(
        messages_received=len(batch.records),
        messages_processed=batch.count("stored"),
        messages_skipped=batch.count("duplicate"),
        messages_failed=batch.count("rejected"),
        sessions_created=created.sessions_created,
        sessions_updated=created.sessions_updated,
        todos_processed=todos.written,
        todos_superseded=len(todos.superseded),
        todos_failed=sum(one.name != CONFIG for one in unstorable),
        config_updated=config.written > 0,
        config_superseded=bool(config.superseded),
        config_failed=any(one.name == CONFIG for one in unstorable),
        projects_created=created.projects_created,
        duration_ms=max(0, round((finished_at - batch.drop.received_at).total_seconds() * 1000)),
    )
    superseded = {**todos.superseded, **config.superseded}
    parts = [*batch.parts.todos, *filter(None, [batch.parts.config])]
    warnings = [
        *batch.warnings,
        *({"part": part.name, "code": code} for part in parts for code in part.warnings),
        *(
            {"part": name, "code": "superseded", "superseded_by": receipt, "reason": _SUPERSEDED}
            for name, receipt in superseded.items()
        ),
    ]
    response = BatchIngestResponse(
        success=True,
        stats=stats,
        message=_message(stats, parts_failed=len(unstorable), parts_superseded=len(superseded)),
        errors=batch.errors or None,
        warnings=warnings or None,
    )
    return DropOutcome(batch.drop.id, response.model_dump(), batch.records, batch.rejects, batch.errors)


def _message(stats: IngestStats, *, parts_failed: int, parts_superseded: int) -> str:
    notes = [
        f"{stats.messages_failed} of {stats.messages_received} messages failed"
        if stats.messages_failed
        else "",
        f"{parts_failed} of the todo lists and configurations failed" if parts_failed else "",
        f"{parts_superseded} of the todo lists and configurations were superseded"
        if parts_superseded
        else "",
    ]
    said = ", ".join(filter(None, notes))
    return f"Batch ingestion completed; {said}" if said else "Batch ingestion completed successfully"


def write_log(
    *,
    database: Database[Any],
    outcomes: Sequence[DropOutcome],
    received: Mapping[UUID, datetime],
    fence: int,
) -> None:
    """One entry a drop (its id is the entry's), so that a repetition replaces and never doubles it.

    `fence`: drawn before the outcomes were computed; the entry of a run that drew a greater one stays.
    """
    now = datetime.now(UTC)
    entries = [
        {
            "_id": str(outcome.drop_id),
            "timestamp": received[outcome.drop_id],
            "finishedAt": now,
            **outcome.result["stats"],
        }
        for outcome in outcomes
    ]
    replace_unless_newer(database[INGESTION_LOGS], entries, fence=fence)
