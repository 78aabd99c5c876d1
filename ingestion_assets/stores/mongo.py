"""How to connect to MongoDB."""

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
    """The database over the process's one client. Writes are acknowledged once journaled by a majority."""
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


@lru_cache(maxsize=4)
def _client(url: str, _process: int) -> MongoClient[Any]:
    return MongoClient(url, **_OPTIONS)


def _of(client: MongoClient[Any], name: str) -> Database[Any]:
    return client.get_database(name, write_concern=DURABLE, read_concern=ReadConcern("local"))
