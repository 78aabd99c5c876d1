"""How to connect to MongoDB, and the names of what is kept there."""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ingestion_assets.settings import load_settings

MESSAGES = "messages"
SESSIONS = "sessions"
PROJECTS = "projects"
TODOS = "todos"
CONFIGS = "configs"
CONFIG_HISTORY = "config_history"
INGESTION_LOGS = "ingestion_logs"
NOT_REMOVED: Mapping[str, Any] = {"removedAt": None}
"""The filter for projects that have sessions. One that lost its last stays for a day, marked with the time."""

DURABLE = WriteConcern(w="majority", j=True, wtimeout=60_000)
_OPTIONS: Mapping[str, Any] = {
    "appname": "ingestion",
    "tz_aware": True,
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 120_000,
    "retryWrites": True,
    "uuidRepresentation": "standard",
}


def database(url: str | None = None, *, name: str | None = None) -> Database[Any]:
    """The flow's database over the process's one client. Writes are acknowledged once journaled by a majority."""
    settings = None if url and name else load_settings()
    target = url or (settings.require("mongodb_url") if settings else "")
    return _of(_client(target, os.getpid()), name or (settings.mongodb_database if settings else "ingestion"))


def async_database(url: str | None = None, *, name: str | None = None) -> AsyncDatabase[Any]:
    """A database on a new client for an event loop; close it with `await database.client.close()`."""
    settings = None if url and name else load_settings()
    target = url or (settings.require("mongodb_url") if settings else "")
    client: AsyncMongoClient[Any] = AsyncMongoClient(
        target, **{**_OPTIONS, "appname": "ingestion-frontdoor", "serverSelectionTimeoutMS": 3_000}
    )
    return client.get_database(
        name or (settings.mongodb_database if settings else "ingestion"), write_concern=DURABLE
    )


def ensure_indexes(database: Database[Any]) -> None:
    """Create the indexes beside `_id`. Cheap when they exist; safe from several processes at once.

    A message's `_id` is made of session and uuid, so it is unique by what identifies a message.
    """
    database[MESSAGES].create_index("sessionId")
    database[SESSIONS].create_index("projectId")
    database[CONFIG_HISTORY].create_index("userId")


@lru_cache(maxsize=4)
def _client(url: str, _process: int) -> MongoClient[Any]:
    return MongoClient(url, **_OPTIONS)


def _of(client: MongoClient[Any], name: str) -> Database[Any]:
    return client.get_database(name, write_concern=DURABLE, read_concern=ReadConcern("local"))
