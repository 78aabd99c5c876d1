"""Asset checks of the conversations flow, evaluated by the step that writes the asset, so that both go together."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations.flow import NAME
from ingestion_assets.conversations.messages import BatchOutcome
from ingestion_assets.conversations.records import message_id
from ingestion_assets.landing.drops import DropOutcome
from ingestion_assets.stores.mongo import MESSAGES as MESSAGES_COLLECTION
from ingestion_assets.stores.mongo import SESSIONS as SESSIONS_COLLECTION

SESSIONS_CHECKED = 20
REJECT_RATE = 0.05

_KEY = dg.AssetKey([NAME, "messages"])
MESSAGES = [
    dg.AssetCheckSpec(
        "accounting", asset=_KEY, blocking=True, description="received = new + duplicate + rejected."
    ),
    dg.AssetCheckSpec(
        "stored_once",
        asset=_KEY,
        blocking=False,
        description="MongoDB holds as many messages of each touched session as were ever stored, no more and no fewer.",
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
    *,
    received: int,
    count: Mapping[str, int],
    failed_payloads: int,
    database: Database[Any],
    engine: sa.Engine,
    sessions: Collection[str],
) -> list[dg.AssetCheckResult]:
    """The checks on `messages`; at most 20 of the touched sessions are counted."""
    wrong = _wrong_counts(database, engine, sorted(sessions)[:SESSIONS_CHECKED])
    rate = (count["rejected"] / received) if received else 0.0
    return [
        dg.AssetCheckResult(
            check_name="accounting",
            passed=received == sum(count.values()),
            metadata={"received": received, **count},
        ),
        dg.AssetCheckResult(
            check_name="stored_once",
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "sessions_counted": min(len(sessions), SESSIONS_CHECKED),
                "wrong": dg.MetadataValue.json(wrong),
                "what_to_do": "Rebuild the days of these sessions: materialize their partitions."
                if wrong
                else "",
            },
        ),
        dg.AssetCheckResult(
            check_name="reject_rate",
            passed=rate <= REJECT_RATE and failed_payloads == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"rate": rate, "payloads_failed": failed_payloads},
        ),
    ]


def _wrong_counts(
    database: Database[Any], engine: sa.Engine, sessions: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Sessions whose number of messages in MongoDB is not the number ever stored."""
    with engine.connect() as connection:
        stored = {
            row.session_id: row.n
            for row in connection.execute(
                sa.text("""
                    SELECT session_id, count(*) AS n FROM ingestion.conversation_facts
                    WHERE session_id = ANY(:sessions) GROUP BY session_id
                """),
                {"sessions": list(sessions)},
            )
        }
    found = {session: _messages_of(database, session) for session in sessions}
    return {
        session: {"stored": stored.get(session, 0), "found": found[session]}
        for session in sessions
        if stored.get(session, 0) != found[session]
    }


def _messages_of(database: Database[Any], session: str) -> int:
    """A session's messages are a range of `_id`."""
    first = message_id(session, "")
    return database[MESSAGES_COLLECTION].count_documents(
        {"_id": {"$gte": first, "$lt": first + "\U0010ffff"}}
    )


def check_sessions(*, database: Database[Any], ids: Sequence[str]) -> list[dg.AssetCheckResult]:
    """The checks on `sessions`; at most 20 of those refreshed are read."""
    some = list(ids)[:SESSIONS_CHECKED]
    wrong = [
        document["sessionId"]
        for session in some
        for document in database[SESSIONS_COLLECTION].find(
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
