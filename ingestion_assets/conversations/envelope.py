"""What the front door must know of a conversations payload before it lands: well-formed, and how much is in it.

Nothing is built from the values, so that a payload of any shape costs little more memory than its bytes.
"""

from dataclasses import dataclass

import msgspec

from ingestion_assets.conversations.schema import MAX_MESSAGES
from ingestion_assets.frontdoor import json_text
from ingestion_assets.frontdoor.problems import Problem, error_item

MAX_TODO_FILES = 10_000
MAX_SESSION_ID = 128


class _Face(msgspec.Struct):
    messages: msgspec.Raw | None = None
    todos: msgspec.Raw | None = None
    config: msgspec.Raw | None = None
    sessionId: str | None = None  # noqa: N815
"""
