"""Everything that the conversations flow keeps, as plain values that can be compared."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pymongo import MongoClient

from ingestion_assets.conversations import collections
from ingestion_assets_tests.stacks import RunningStack

COLLECTIONS = (
    collections.MESSAGES, collections.SESSIONS, collections.PROJECTS, collections.TODOS, collections.CONFIGS, collections.CONFIG_HISTORY,
    collections.INGESTION_LOGS,
)  # fmt: skip
TABLES = {
    "conversation_facts": ("session_id", "uuid"),
    "conversation_sessions": ("session_id",),
    "conversation_projects": ("project_id",),
    "conversation_forks": ("session_id", "usage_key"),
    "receipt_records": ("drop_id",),
    "rejects": ("id",),
    "drops": ("id",),
}
NOT_COMPARED = {"updatedAt", "stale", "touched_by", "fence"}
"""When and by which run a row was written, and whether it is to be computed again: a rebuild may leave these otherwise."""

Tables = dict[str, dict[Any, Any]]


def stored(stack: RunningStack) -> Tables:
    """All documents by `_id` and all rows by their key, without what `NOT_COMPARED` names."""
    found: Tables = {}
    with MongoClient(stack.environment["INGESTION_MONGODB_URL"], tz_aware=True) as client:
        database = client[stack.environment.get("INGESTION_MONGODB_DATABASE", "ingestion")]
        for name in COLLECTIONS:
            found[name] = {
                document["_id"]: {k: v for k, v in document.items() if k not in NOT_COMPARED}
                for document in database[name].find()
            }
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        for name, key in TABLES.items():
            rows = cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("ingestion", name)))
            found[name] = {
                tuple(row[column] for column in key): {k: v for k, v in row.items() if k not in NOT_COMPARED}
                for row in rows
            }
    return found


def differences(before: Tables, after: Tables) -> list[str]:
    """Where they differ, as sentences; empty when they agree."""
    return [
        f"{name} {key}: {before[name].get(key)} became {after[name].get(key)}"[:1000]
        for name in before
        for key in {*before[name], *after[name]}
        if before[name].get(key) != after[name].get(key)
    ]
