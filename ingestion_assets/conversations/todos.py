"""Todo lists of sessions, and the configuration of users with its history: the last one that arrived stays.

"Last" is the order of arrival (drop id, then position), not of processing, so repetition and order do not matter.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from pymongo import InsertOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from ingestion_assets.conversations.json_values import canonical, clean, storable
from ingestion_assets.conversations.messages import BatchOutcome
from ingestion_assets.conversations.records import message_id
from ingestion_assets.stores.mongo import CONFIG_HISTORY, CONFIGS, TODOS

_DUPLICATE_KEY = 11000


def store_todos(*, database: Database[Any], batches: Sequence[BatchOutcome]) -> dict[UUID, int]:
    """Write every batch's todo files to `todos`; returns the number of files per drop."""
    latest: dict[str, dict[str, Any]] = {}
    for batch in sorted(batches, key=lambda batch: batch.drop.id):
        for position, todo in enumerate(batch.todos):
            session, filename = clean(todo.sessionId)[:256], clean(todo.filename)[:512]
            identity = message_id(session, filename)
            latest[identity] = {
                "_id": identity,
                "sessionId": session,
                "filename": filename,
                "todos": storable(clean(todo.todos)),
                "todoCount": len(todo.todos),
                "arrival": _arrival(batch, position),
                "dropId": str(batch.drop.id),
                "updatedAt": batch.drop.received_at,
            }
    _keep_latest(database, TODOS, latest.values())
    return {batch.drop.id: len(batch.todos) for batch in batches}


def store_configs(*, database: Database[Any], batches: Sequence[BatchOutcome]) -> dict[UUID, bool]:
    """Write every batch's configuration to `configs` (one document a user) and `config_history` (one a change).

    The user is the `userId` given, else the principal whose key sent it. Returns whether a drop brought one.
    """
    latest: dict[str, dict[str, Any]] = {}
    history: list[dict[str, Any]] = []
    for batch in sorted(batches, key=lambda batch: batch.drop.id):
        config = batch.config
        if config is None or not (config.config or config.settings):
            continue
        user = clean(config.userId or batch.drop.principal)[:256]
        content = {"config": clean(config.config), "settings": clean(config.settings)}
        entry = {
            "userId": user,
            "config": storable(content["config"]),
            "settings": storable(content["settings"]),
            "contentHash": sha256(canonical(content)).digest(),
            "arrival": _arrival(batch, 0),
            "dropId": str(batch.drop.id),
            "updatedAt": batch.drop.received_at,
        }
        latest[user] = {"_id": user, **entry}
        history.append({"_id": str(batch.drop.id), **entry})
    _keep_latest(database, CONFIGS, latest.values())
    _insert_missing(database, CONFIG_HISTORY, history)
    return {
        batch.drop.id: bool(batch.config and (batch.config.config or batch.config.settings))
        for batch in batches
    }


def _arrival(batch: BatchOutcome, position: int) -> str:
    return f"{batch.drop.id}/{position:06d}"


def _keep_latest(database: Database[Any], collection: str, documents: Any) -> None:
    """Insert, and update where the stored one arrived earlier; an upsert here would race on the unique `_id`."""
    documents = list(documents)
    if not documents:
        return
    taken = _insert_missing(database, collection, documents)
    updates = [
        UpdateOne(
            {"_id": document["_id"], "arrival": {"$lt": document["arrival"]}},
            {"$set": {key: value for key, value in document.items() if key != "_id"}},
        )
        for document in documents
        if document["_id"] in taken
    ]
    if updates:
        database[collection].bulk_write(updates, ordered=False)


def _insert_missing(
    database: Database[Any], collection: str, documents: Sequence[dict[str, Any]]
) -> set[str]:
    """Insert what is not there; returns the ids that were."""
    if not documents:
        return set()
    try:
        database[collection].bulk_write([InsertOne(document) for document in documents], ordered=False)
    except BulkWriteError as error:
        errors = error.details["writeErrors"]
        if error.details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE_KEY for one in errors):
            raise
        return {documents[one["index"]]["_id"] for one in errors}
    return set()
