"""Asset checks of the conversations flow: those that the step makes which writes the asset, and an audit of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.conversations.flow import NAME
from ingestion_assets.orchestration.partition_checks import by_payloads, rate_of, reject_rate

if TYPE_CHECKING:
    from uuid import UUID

    from pymongo.database import Database

    from ingestion_assets.conversations.batches import BatchOutcome
    from ingestion_assets.conversations.todos import Kept
    from ingestion_assets.landing.drop_outcomes import DropOutcome

SESSIONS_READ = 20
SESSIONS_COUNTED = 200
REJECT_RATE = 0.05

_KEY = dg.AssetKey([NAME, "messages"])
MESSAGES = [
    by_payloads(
        "accounting", asset=_KEY, blocking=True, description="received = new + duplicate + rejected."
    ),
    reject_rate(
        asset=_KEY,
        most=REJECT_RATE,
        received=["stats", "messages_received"],
        rejected=["stats", "messages_failed"],
    ),
]
SESSIONS = [
    by_payloads(
        "counts_by_type",
        asset=dg.AssetKey([NAME, "sessions"]),
        description="A session's count is the sum of its counts by type.",
    )
]


def as_outcome(batch: BatchOutcome) -> DropOutcome:
    """A batch's rejects in the shape that the metadata tables take."""
    from ingestion_assets.landing.drop_outcomes import DropOutcome  # noqa: PLC0415

    return DropOutcome(batch.drop.id, {}, rejects=batch.rejects)


def superseded(kept: Mapping[UUID, Kept]) -> dict[str, Any]:
    """How many todo lists or configurations were older than what is stored."""
    return {"superseded": sum(len(one.superseded) for one in kept.values())}


def check_messages(
    *, received: int, count: Mapping[str, int], failed_payloads: int
) -> list[dg.AssetCheckResult]:
    """The checks that `messages` makes while it is written."""
    return [
        dg.AssetCheckResult(
            check_name="accounting",
            passed=received == sum(count.values()),
            metadata={
                "received": received,
                "new": count["stored"],
                "duplicate": count["duplicate"],
                "rejected": count["rejected"],
            },
        ),
        rate_of(
            received=received, rejected=count["rejected"], payloads_failed=failed_payloads, most=REJECT_RATE
        ),
    ]


@dg.asset_check(
    asset=_KEY,
    description=f"MongoDB holds as many messages of each of the {SESSIONS_COUNTED} sessions touched last as were ever "
    "stored, no more and no fewer. Runs every hour, and whenever you execute it.",
)
def stored_once() -> dg.AssetCheckResult:
    """Compare MongoDB with the ledger of stored messages."""
    from ingestion_assets.conversations.message_audit import audit  # noqa: PLC0415
    from ingestion_assets.stores import mongo, postgres  # noqa: PLC0415

    found = audit(engine=postgres.engine(), database=mongo.database(), sessions=SESSIONS_COUNTED)
    metadata: dict[str, Any] = {
        "sessions": len(found.counts),
        "messages_stored": sum(count.stored for count in found.counts.values()),
        "messages_found": sum(count.found for count in found.counts.values()),
    }
    if found.wrong:
        metadata |= {
            "what_to_do": f"Materialize {', '.join(found.days)} of the group {NAME}: that rebuilds what is missing "
            "from the landed payloads. What is there too often was not written by a run; look at it in MongoDB.",
            "wrong": dg.MetadataValue.table(
                [
                    dg.TableRecord({"session": session, "stored": count.stored, "found": count.found})
                    for session, count in sorted(found.wrong.items())[:SESSIONS_READ]
                ]
            ),
        }
    return dg.AssetCheckResult(passed=not found.wrong, metadata=metadata)


def check_sessions(*, database: Database[Any], ids: Sequence[str]) -> list[dg.AssetCheckResult]:
    """The checks on `sessions`; at most 20 of those refreshed are read."""
    from ingestion_assets.conversations import collections  # noqa: PLC0415

    some = list(ids)[:SESSIONS_READ]
    wrong = [
        document["sessionId"]
        for session in some
        for document in database[collections.SESSIONS].find(
            {"_id": session}, {"sessionId": 1, "messageCount": 1, "messageCountByType": 1}
        )
        if document["messageCount"] != sum(document["messageCountByType"].values())
    ]
    return [
        dg.AssetCheckResult(
            check_name="counts_by_type",
            passed=not wrong,
            metadata={"sessions_read": len(some)} | _listed(wrong),
        )
    ]


def accounts(outcome: DropOutcome) -> bool:
    """Whether a batch's result says what became of each of its records."""
    stats = outcome.result["stats"]
    parts = stats["messages_processed"] + stats["messages_skipped"] + stats["messages_failed"]
    return stats["messages_received"] == parts == len(outcome.records)


def _listed(wrong: Sequence[str]) -> dict[str, Any]:
    """The ids at fault, where there are any."""
    return {"wrong": dg.MetadataValue.json(list(wrong[:SESSIONS_READ]))} if wrong else {}
