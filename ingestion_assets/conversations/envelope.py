"""What must be known of a conversations payload before it lands: that it is well-formed, and how much is in it.

Nothing is built from the values, so that checking a payload of any shape costs little more memory than its bytes.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from ingestion_assets.conversations.schema import MAX_MESSAGES
from ingestion_assets.landing.json_text import decode

MAX_TODO_FILES = 10_000
MAX_SESSION_ID = 128

_FEW_COMMAS = 50_000
_ABSENT = msgspec.Raw()
_NOTHING = re.compile(rb"\s*(?:null|\{\s*\})?\s*")


class EnvelopeError(Exception):
    """A body that is no payload of the flow: 400 or 422, a sentence, and what is wrong where."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        loc: Sequence[str | int] = (),
        type: str = "envelope",  # noqa: A002
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = [{"loc": ["body", *loc], "msg": detail, "type": type}]


class _Face(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"[]")
    todos: msgspec.Raw = msgspec.Raw(b"[]")
    config: msgspec.Raw = msgspec.Raw(b"null")
    sessionId: str | None = None  # noqa: N815


class _TodoFace(msgspec.Struct):
    sessionId: str  # noqa: N815
    filename: str
    todos: msgspec.Raw
    todoCount: int | None = None  # noqa: N815


class _ConfigFace(msgspec.Struct):
    config: msgspec.Raw = msgspec.Raw(b"null")
    settings: msgspec.Raw = msgspec.Raw(b"null")
    userId: str | None = None  # noqa: N815


class _NoField(msgspec.Struct):
    """Skips every field."""


_face = msgspec.json.Decoder(_Face)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_todo = msgspec.json.Decoder(_TodoFace)
_config = msgspec.json.Decoder(_ConfigFace)
_any_object = msgspec.json.Decoder(_NoField)
_anything = msgspec.json.Decoder(msgspec.Raw)


def messages_in_batch(body: bytes) -> int:
    """The number of messages in a batch's body. Raises `EnvelopeError`, `RecursionError`."""
    face = _decoded(body, _face)
    if face.sessionId is not None and not 0 < len(face.sessionId) <= MAX_SESSION_ID:
        raise EnvelopeError(422, f"sessionId must have 1 to {MAX_SESSION_ID} characters.", loc=["sessionId"])
    few = body.count(b",") < _FEW_COMMAS
    messages = len(_elements(face.messages, "messages", most=MAX_MESSAGES, few=few))
    todos = _check_todos(face.todos, few=few)
    configured = _check_config(face.config)
    if not (messages or todos or configured):
        raise EnvelopeError(400, "Nothing to ingest: no message, no todo and no config.", type="empty")
    return messages


def check_single_message(body: bytes) -> int:
    """A single message is one JSON object; what it says is judged later. Always 1.

    Raises `EnvelopeError`, `RecursionError`.
    """
    _decoded(body, _any_object if body.lstrip(b" \t\r\n").startswith(b"{") else _anything)
    if not body.lstrip(b" \t\r\n").startswith(b"{"):
        raise EnvelopeError(422, "The message must be a JSON object.", type="object")
    return 1


def _check_todos(raw: msgspec.Raw, *, few: bool) -> int:
    todos = _elements(raw, "todos", most=MAX_TODO_FILES, few=few)
    for index, todo in enumerate(todos):
        face = _decoded(memoryview(todo), _todo, "todos", index)
        if _first(face.todos) != b"[":
            raise EnvelopeError(
                422, f"todos[{index}].todos must be a list.", loc=["todos", index, "todos"], type="list"
            )
    return len(todos)


def _check_config(raw: msgspec.Raw) -> bool:
    """Whether there is anything in it."""
    if _NOTHING.fullmatch(memoryview(raw)):
        return False
    face = _decoded(memoryview(raw), _config, "config")
    parts = {"config": face.config, "settings": face.settings}
    for name, part in parts.items():
        if _first(part) not in (b"{", b"n"):
            raise EnvelopeError(422, f"config.{name} must be an object.", loc=["config", name], type="object")
    return not all(_NOTHING.fullmatch(memoryview(part)) for part in parts.values())


def _elements(raw: msgspec.Raw, name: str, *, most: int, few: bool) -> Sequence[msgspec.Raw]:
    """The list's elements; `few` says that there cannot be so many that holding them all would matter."""
    if _first(raw) != b"[":
        raise EnvelopeError(422, f"{name} must be a list.", loc=[name], type="list")
    text = memoryview(raw)
    if few:
        elements: Sequence[msgspec.Raw] = _decoded(text, _items, name)
        if len(elements) > most:
            raise _too_many(name, most)
        return elements
    try:
        bounded = decode(text, _bounded_list(most))
    except msgspec.ValidationError:
        raise _too_many(name, most) from None
    return [element for element in msgspec.structs.astuple(bounded) if element is not _ABSENT]


def _first(raw: msgspec.Raw) -> bytes:
    """The first byte that says something."""
    return bytes(memoryview(raw)[:64]).lstrip(b" \t\r\n")[:1]


def _too_many(name: str, most: int) -> EnvelopeError:
    return EnvelopeError(
        400,
        f"Batch size exceeds maximum of {most} {name}; send them in several batches.",
        loc=[name],
        type="too_many",
    )


@lru_cache
def _bounded_list(most: int) -> "msgspec.json.Decoder[Any]":
    """Decodes a list of at most `most` elements and stops at the one too many, however many follow."""
    names = [(f"_{index}", msgspec.Raw, _ABSENT) for index in range(most)]
    return msgspec.json.Decoder(
        msgspec.defstruct("Bounded", names, array_like=True, forbid_unknown_fields=True)
    )


def _decoded(text: bytes | memoryview, decoder: "msgspec.json.Decoder[Any]", *loc: str | int) -> Any:
    try:
        return decode(text, decoder)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where = [*loc, *filter(None, re.split(r"[.\[\]`]+", path))]
        raise EnvelopeError(
            422, f"{message} ({'.'.join(map(str, where)) or 'body'}).", loc=where, type="type"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvelopeError(
            400, f"The request body is not well-formed JSON: {error}.", loc=loc, type="json"
        ) from error
