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

_SHORT = 64 * 1024  # bytes; fewer cannot hold so many elements that a list of them all would matter
_ABSENT = msgspec.Raw()
_NO_LIST = msgspec.Raw(b"[]")
_NO_CONFIG = msgspec.Raw(b"null")
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
    messages: msgspec.Raw = _NO_LIST
    todos: msgspec.Raw = _NO_LIST
    config: msgspec.Raw = _NO_CONFIG
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


_face = msgspec.json.Decoder(_Face)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_todo = msgspec.json.Decoder(_TodoFace)
_config = msgspec.json.Decoder(_ConfigFace)
_anything = msgspec.json.Decoder(msgspec.Raw)


def messages_in_batch(body: bytes) -> tuple[Sequence[msgspec.Raw], str | None]:
    """The messages in a batch's body, as they stand there, and the session of those that name none.

    Raises `EnvelopeError`, `RecursionError`.
    """
    try:
        face: Any = (_short_face() if len(body) < _SHORT else _long_face()).decode(body)
        messages = _present(face.messages)
    except (msgspec.DecodeError, UnicodeDecodeError):  # decoded in steps, to say what is wrong where
        face = _decoded(body, _face)
        messages = _elements(face.messages, "messages", most=MAX_MESSAGES)
    if len(messages) > MAX_MESSAGES:
        raise _too_many("messages", MAX_MESSAGES)
    if face.sessionId is not None and not 0 < len(face.sessionId) <= MAX_SESSION_ID:
        raise EnvelopeError(422, f"sessionId must have 1 to {MAX_SESSION_ID} characters.", loc=["sessionId"])
    todos = face.todos is not _NO_LIST and _check_todos(face.todos)
    configured = face.config is not _NO_CONFIG and _check_config(face.config)
    if not (messages or todos or configured):
        raise EnvelopeError(400, "Nothing to ingest: no message, no todo and no config.", type="empty")
    return messages, face.sessionId


def single_message(body: bytes) -> tuple[Sequence[msgspec.Raw], None]:
    """A single message is one JSON object; what it says, its session too, is judged later.

    Raises `EnvelopeError`, `RecursionError`.
    """
    message = _decoded(body, _anything)
    if _first(message) != b"{":
        raise EnvelopeError(422, "The message must be a JSON object.", type="object")
    return (message,), None


def _check_todos(raw: msgspec.Raw) -> int:
    todos = _elements(raw, "todos", most=MAX_TODO_FILES)
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


def _elements(raw: msgspec.Raw, name: str, *, most: int) -> Sequence[msgspec.Raw]:
    """The list's elements, however many there are said to be."""
    if _first(raw) != b"[":
        raise EnvelopeError(422, f"{name} must be a list.", loc=[name], type="list")
    text = memoryview(raw)
    if len(text) < _SHORT:
        elements: Sequence[msgspec.Raw] = _decoded(text, _items, name)
        if len(elements) > most:
            raise _too_many(name, most)
        return elements
    try:
        return _present(decode(text, msgspec.json.Decoder(_bounded_list(most))))
    except msgspec.ValidationError:
        raise _too_many(name, most) from None


def _present(elements: Any) -> Sequence[msgspec.Raw]:
    """The elements of a list, or of a bounded one."""
    if isinstance(elements, list):
        return elements
    return [element for element in msgspec.structs.astuple(elements) if element is not _ABSENT]


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
def _bounded_list(most: int) -> type[msgspec.Struct]:
    """Decodes from a list of at most `most` elements; decoding stops at the one too many, however many follow."""
    names = [(f"_{index}", msgspec.Raw, _ABSENT) for index in range(most)]
    return msgspec.defstruct("Bounded", names, array_like=True, forbid_unknown_fields=True, frozen=True)


def _face_with(messages: Any, absent: Any) -> "msgspec.json.Decoder[Any]":
    """Decodes face and messages in one go."""
    face = msgspec.defstruct("Face", [("messages", messages, absent)], bases=(_Face,))
    return msgspec.json.Decoder(face)


@lru_cache
def _short_face() -> "msgspec.json.Decoder[Any]":
    return _face_with(list[msgspec.Raw], [])


@lru_cache
def _long_face() -> "msgspec.json.Decoder[Any]":
    bounded = _bounded_list(MAX_MESSAGES)
    return _face_with(bounded, bounded())


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
