"""The todo lists and the configuration of a payload → the documents to store, or rejects of their own. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import bson

from ingestion_assets.conversations.json_values import canonical, depth, storable
from ingestion_assets.conversations.records import MAX_DEPTH, MAX_DOCUMENT_BYTES, message_id, shortened
from ingestion_assets.conversations.schema import PART_MARK, Config, Envelope, TodoFile
from ingestion_assets.landing.drop_outcomes import Reject
from ingestion_assets.landing.drops import LandedDrop

CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Part:
    """A document that is kept in its newest state. `name` is its place in the payload, `warnings` the codes of what was replaced."""

    name: str
    document: dict[str, Any]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Unstorable:
    """A part that no document can hold: its reject, and where in the payload it stood."""

    name: str
    reject: Reject


@dataclass(frozen=True, slots=True)
class Parts:
    """The todo lists in order, the configuration, and what of them cannot be stored."""

    todos: Sequence[Part]
    config: Part | None
    unstorable: Sequence[Unstorable]


def parts_of(drop: LandedDrop, envelope: Envelope) -> Parts:
    """Judge the parts of a payload. Their rejects take the positions after those of its messages."""
    todos: list[Part] = []
    unstorable: list[Unstorable] = []
    after = len(envelope.messages)
    for index, todo in enumerate(envelope.todos):
        name = f"todos[{index}]"
        document = _todo(drop, todo, index) if depth(todo.todos) <= MAX_DEPTH else None
        if refused := _refusal(name, document):
            raw = bytes(envelope.raw_todos[index])
            unstorable.append(_unstorable(name, after + index, refused, b'"todos":[%b]' % raw))
        elif document:
            todos.append(Part(name, document, envelope.todo_warnings[index]))
    configured = None
    config = envelope.config
    if config is not None and (config.config or config.settings):
        levels = max(depth(config.config), depth(config.settings))
        document = _config(drop, config) if levels <= MAX_DEPTH else None
        if refused := _refusal(CONFIG, document):
            position = after + len(envelope.todos)
            unstorable.append(
                _unstorable(CONFIG, position, refused, b'"config":%b' % bytes(envelope.raw_config))
            )
        elif document:
            configured = Part(CONFIG, document, envelope.config_warnings)
    return Parts(todos, configured, unstorable)


def _refusal(name: str, document: dict[str, Any] | None) -> tuple[str, str] | None:
    if document is None:
        return "too_deep", f"{name} is nested deeper than the {MAX_DEPTH} levels that can be stored."
    size = len(bson.encode(document))
    if size <= MAX_DOCUMENT_BYTES:
        return None
    return "too_large", f"{name} has {size} bytes as a document, at most {MAX_DOCUMENT_BYTES} can be stored."


def _unstorable(name: str, position: int, refused: tuple[str, str], field: bytes) -> Unstorable:
    code, reason = refused
    return Unstorable(name, Reject(position, "invalid", code, reason, b"%b%b}" % (PART_MARK, field)))


def _todo(drop: LandedDrop, todo: TodoFile, index: int) -> dict[str, Any]:
    session, filename = shortened(todo.sessionId), shortened(todo.filename, most=512)
    return {
        "_id": message_id(session, filename),
        "sessionId": session,
        "filename": filename,
        "todos": storable(todo.todos),
        "todoCount": len(todo.todos),
        **_arrival(drop, index),
    }


def _config(drop: LandedDrop, config: Config) -> dict[str, Any]:
    """The user is the `userId` given, else the principal whose key sent it."""
    user = shortened(config.userId or drop.principal)
    content = {"config": config.config, "settings": config.settings}
    return {
        "_id": user,
        "userId": user,
        "config": storable(content["config"]),
        "settings": storable(content["settings"]),
        "contentHash": sha256(canonical(content)).digest(),
        **_arrival(drop, 0),
    }


def _arrival(drop: LandedDrop, position: int) -> dict[str, Any]:
    """What decides which state is the newest: the receipt, then the place in the payload."""
    return {"arrival": f"{drop.id}/{position:06d}", "dropId": str(drop.id), "updatedAt": drop.received_at}
