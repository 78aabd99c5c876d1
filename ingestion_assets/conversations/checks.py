"""Asset checks of the conversations flow, evaluated by the step that writes the asset, so that both go together."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations.flow import NAME
from ingestion_assets.conversations.messages import BatchOutcome
from ingestion_assets.landing.drops import DropOutcome
from ingestion_assets.stores import mongo, postgres

SESSIONS_READ = 20
SESSIONS_COUNTED = 200
REJECT_RATE = 0.05

_STORED = sa.text("""
    SELECT fact.session_id, count(*) AS n
    FROM (SELECT session_id FROM ingestion.conversation_sessions ORDER BY touched_by DESC LIMIT :limit) recent
    JOIN ingestion.conversation_facts fact USING (session_id)
    GROUP BY fact.session_id
""")
_KEY = dg.AssetKey([NAME, "messages"])
MESSAGES = [
    dg.AssetCheckSpec(
        "accounting", asset=_KEY, blocking=True, description="received = new + duplicate + rejected."
    ),
    dg.AssetCheckSpec(
        "reject_rate", asset=_KEY, description=f"At most {REJECT_RATE:.0%} of the records are rejected."
    ),
]
SESSIONS = [
    dg.AssetCheckSpec(
        "counts_by_type",
        asset=dg.AssetKey([NAME, "sessions"]),
        description="A session's count is the sum of its counts by type.",
    )
]
INGESTION_LOG = [
    dg.AssetCheckSpec(
        "accounting",
        asset=dg.AssetKey([NAME, "ingestion_log"]),
        description="Every payload's result says received = processed + skipped + failed, with one outcome a record.",
    )
]


def as_outcome(batch: BatchOutcome) -> DropOutcome:
    """A batch's rejects in the shape that the metadata tables take."""
    return DropOutcome(batch.drop.id, {}, rejects=batch.rejects)


def check_messages(
    *, received: int, count: Mapping[str, int], failed_payloads: int
) -> list[dg.AssetCheckResult]:
    """The checks that `messages` makes while it is written."""
    rate = (count["rejected"] / received) if received else 0.0
    return [
        dg.AssetCheckResult(
            check_name="accounting",
            passed=received == sum(count.values()),
            metadata={"received": received, **count},
        ),
        dg.AssetCheckResult(
            check_name="reject_rate",
            passed=rate <= REJECT_RATE and failed_payloads == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"rate": rate, "payloads_failed": failed_payloads},
        ),
    ]


@dg.asset_check(
    asset=_KEY,
    description=f"MongoDB holds as many messages of each of the {SESSIONS_COUNTED} sessions touched last as were ever "
    "stored, no more and no fewer.",
)
def stored_once() -> dg.AssetCheckResult:
    """Compare MongoDB with the ledger of stored messages. Run by the hour and by hand, not by every run."""
    with postgres.engine().connect() as connection:
        stored = {row.session_id: row.n for row in connection.execute(_STORED, {"limit": SESSIONS_COUNTED})}
    messages = mongo.database()[mongo.MESSAGES]
    found = {session: messages.count_documents({"sessionId": session}) for session in stored}
    wrong = {
        session: {"stored": stored[session], "found": found[session]}
        for session in stored
        if stored[session] != found[session]
    }
    metadata: dict[str, Any] = {"sessions_counted": len(stored), "messages_counted": sum(stored.values())}
    if wrong:
        metadata |= {
            "wrong": dg.MetadataValue.json(wrong),
            "what_to_do": "Rebuild the days on which these sessions arrived: materialize their partitions.",
        }
    return dg.AssetCheckResult(passed=not wrong, metadata=metadata)


def check_sessions(*, database: Database[Any], ids: Sequence[str]) -> list[dg.AssetCheckResult]:
    """The checks on `sessions`; at most 20 of those refreshed are read."""
    some = list(ids)[:SESSIONS_READ]
    wrong = [
        document["sessionId"]
        for session in some
        for document in database[mongo.SESSIONS].find(
            {"_id": session}, {"sessionId": 1, "messageCount": 1, "messageCountByType": 1}
        )
        if document["messageCount"] != sum(document["messageCountByType"].values())
    ]
    return [
        dg.AssetCheckResult(
            check_name="counts_by_type",
            passed=not wrong,
            metadata={"read": len(some), "wrong": dg.MetadataValue.json(wrong)},
        )
    ]


def check_log(outcomes: Sequence[DropOutcome]) -> list[dg.AssetCheckResult]:
    """The checks on `ingestion_log`."""
    wrong = []
    for outcome in outcomes:
        if outcome.failed:
            continue
        stats = outcome.result["stats"]
        parts = stats["messages_processed"] + stats["messages_skipped"] + stats["messages_failed"]
        if stats["messages_received"] != parts or parts != len(outcome.records):
            wrong.append(str(outcome.drop_id))
    return [
        dg.AssetCheckResult(
            check_name="accounting", passed=not wrong, metadata={"wrong": dg.MetadataValue.json(wrong)}
        )
    ]
