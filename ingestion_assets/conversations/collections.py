"""The collections of MongoDB in which conversations are kept, and their indexes."""

from collections.abc import Mapping
from typing import Any

from pymongo.database import Database

from ingestion_assets.stores import mongo

MESSAGES = "messages"
SESSIONS = "sessions"
PROJECTS = "projects"
TODOS = "todos"
CONFIGS = "configs"
CONFIG_HISTORY = "config_history"
INGESTION_LOGS = "ingestion_logs"
NOT_REMOVED: Mapping[str, Any] = {"removedAt": None}
"""The filter for projects that have sessions. One that lost its last stays for a day, marked with the time."""


def ensure_indexes(database: Database[Any]) -> None:
    """Create the indexes beside `_id`. Cheap when they exist; safe from several processes at once.

    A message's `_id` is made of session and uuid, so it is unique by what identifies a message.
    """
    database[MESSAGES].create_index("sessionId")
    database[SESSIONS].create_index("projectId")
    database[CONFIG_HISTORY].create_index("userId")


def prepare() -> None:
    """What is to be there before the first run."""
    ensure_indexes(mongo.database())
