"""Todo lists of sessions, and the configuration of users with its history: the last one that arrived stays.

"Last" is the order of arrival (drop id, then position), not of processing, so repetition and order do not matter; and a write
that comes late loses by its arrival. What is older than what is stored is told by which receipt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pymongo import InsertOne, ReplaceOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from ingestion_assets.conversations.batches import BatchOutcome
from ingestion_assets.conversations.collections import CONFIG_HISTORY, CONFIGS, TODOS
from ingestion_assets.conversations.parts import Part
from ingestion_assets.stores.fencing import only_taken


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the parts of one kind of one payload: how many were written, and what superseded the others, by name."""

    written: int = 0
    superseded: Mapping[str, str] = field(default_factory=dict)


NOTHING = Kept()


def store_todos(*, database: Database[Any], batches: Sequence[BatchOutcome]) -> dict[UUID, Kept]:
    """Write every batch's todo files to `todos`, one document a session and file."""
    return _keep_latest(database, TODOS, {batch.drop.id: batch.parts.todos for batch in batches})


def store_configs(*, database: Database[Any], batches: Sequence[BatchOutcome]) -> dict[UUID, Kept]:
    """Write every batch's configuration to `configs` (one document a user) and `config_history` (one a change)."""
    configs = {batch.drop.id: [batch.parts.config] if batch.parts.config else [] for batch in batches}
    kept = _keep_latest(database, CONFIGS, configs)
    history = [part.document | {"_id": str(drop)} for drop, parts in configs.items() for part in parts]
    _insert_missing(database, CONFIG_HISTORY, history)
    return kept


def _keep_latest(
    database: Database[Any], collection: str, parts: Mapping[UUID, Sequence[Part]]
) -> dict[UUID, Kept]:
    """Payloads of one claim are as if written one after the other: only what another claim stored supersedes."""
    latest: dict[str, dict[str, Any]] = {}
    for drop in sorted(parts):
        latest |= {part.document["_id"]: part.document for part in parts[drop]}
    newer = _write(database, collection, list(latest.values()))
    result: dict[UUID, Kept] = {}
    for drop, of_drop in parts.items():
        superseded = {
            part.name: newer[part.document["_id"]] for part in of_drop if part.document["_id"] in newer
        }
        result[drop] = Kept(len(of_drop) - len(superseded), superseded)
    return result


def _write(database: Database[Any], collection: str, documents: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Insert, and replace where the stored one arrived earlier; an upsert here would race on the unique `_id`.

    Gives the receipts of those that arrived later than ours, by `_id`.
    """
    taken = _insert_missing(database, collection, documents)
    ours = {document["_id"]: document for document in documents if document["_id"] in taken}
    if not ours:
        return {}
    replaced = database[collection].bulk_write(
        [ReplaceOne({"_id": one["_id"], "arrival": {"$lt": one["arrival"]}}, one) for one in ours.values()],
        ordered=False,
    )
    if replaced.matched_count == len(ours):
        return {}
    stored = database[collection].find({"_id": {"$in": list(ours)}}, {"arrival": 1, "dropId": 1})
    return {one["_id"]: one["dropId"] for one in stored if one["arrival"] > ours[one["_id"]]["arrival"]}


def _insert_missing(
    database: Database[Any], collection: str, documents: Sequence[dict[str, Any]]
) -> set[str]:
    """Insert what is not there; returns the ids that were."""
    if not documents:
        return set()
    try:
        database[collection].bulk_write([InsertOne(document) for document in documents], ordered=False)
    except BulkWriteError as error:
        if not only_taken(error):
            raise
        return {documents[one["index"]]["_id"] for one in error.details["writeErrors"]}
    return set()
