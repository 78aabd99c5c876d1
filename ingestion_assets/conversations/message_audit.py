"""Whether MongoDB still holds what was ever stored: a comparison with the facts, session by session."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pymongo.collection import Collection
from pymongo.database import Database

from ingestion_assets.conversations.collections import MESSAGES
from ingestion_assets.landing.drop_queries import partitions_of

IN_FLIGHT_S = 5.0

_RECENT = sa.text(
    "SELECT session_id FROM ingestion.conversation_sessions ORDER BY touched_by DESC LIMIT :limit"
)
# A summary lies under no session of its own; it counts for the one that owns the message it names.
_STORED = sa.text("""
    SELECT session_id, count(*) AS n FROM (
        SELECT session_id FROM ingestion.conversation_facts WHERE session_id = ANY(CAST(:ids AS text[]))
        UNION ALL
        SELECT owner FROM ingestion.conversation_facts WHERE owner = ANY(CAST(:ids AS text[]))
    ) fact GROUP BY session_id
""")
_DROPS = sa.text("""
    SELECT drop_id FROM ingestion.conversation_facts WHERE session_id = ANY(CAST(:ids AS text[]))
    UNION
    SELECT drop_id FROM ingestion.conversation_facts WHERE owner = ANY(CAST(:ids AS text[]))
""")


@dataclass(frozen=True, slots=True)
class Counted:
    """Messages of one session: how many were ever stored, and how many MongoDB holds."""

    stored: int
    found: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What was counted, by session; the sessions that do not agree; the days on which those arrived."""

    counts: Mapping[str, Counted]
    wrong: Mapping[str, Counted]
    days: Sequence[str]


def audit(*, engine: sa.Engine, database: Database[Any], sessions: int) -> Audit:
    """Count the messages of the `sessions` touched last.

    A session that a run is writing agrees a moment later, so what differs is looked at again for `IN_FLIGHT_S` seconds.
    """
    messages = database[MESSAGES]
    with engine.connect() as connection:
        recent = connection.scalars(_RECENT, {"limit": sessions}).all()
    counts = _counts(engine, messages, recent)
    wrong = _differing(counts)
    deadline = time.monotonic() + IN_FLIGHT_S
    while wrong and time.monotonic() < deadline:
        time.sleep(0.25)
        again = _counts(engine, messages, list(wrong))
        counts |= again
        wrong = _differing(again)
    days: Sequence[str] = ()
    if wrong:
        with engine.connect() as connection:
            drops = connection.scalars(_DROPS, {"ids": list(wrong)}).all()
            days = partitions_of(connection, drops)
    return Audit(counts, wrong, days)


def _counts(engine: sa.Engine, messages: Collection[Any], sessions: Sequence[str]) -> dict[str, Counted]:
    with engine.connect() as connection:
        stored = {row.session_id: row.n for row in connection.execute(_STORED, {"ids": list(sessions)})}
    return {
        session: Counted(stored.get(session, 0), messages.count_documents({"sessionId": session}))
        for session in sessions
    }


def _differing(counts: Mapping[str, Counted]) -> dict[str, Counted]:
    return {session: count for session, count in counts.items() if count.stored != count.found}
