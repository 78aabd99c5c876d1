"""What a client sends to the conversations flow, and what it is answered. No rules about single messages here."""

from typing import Any

import msgspec
from pydantic import BaseModel, Field

from ingestion_assets.conversations.json_values import NotJsonError
from ingestion_assets.conversations.json_values import decode as decode_value
from ingestion_assets.conversations.transcript import split_line
from ingestion_assets.landing.json_text import replace_lone_surrogates

MAX_MESSAGES = 1000


class TodoFile(msgspec.Struct, kw_only=True):
    """One todo file of a session. Items keep whatever keys the client's version writes."""

    sessionId: str  # noqa: N815
    filename: str
    todos: list[Any]


class Config(msgspec.Struct, kw_only=True):
    """A user's configuration: `config.json`, `settings.json`, or both."""

    config: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    userId: str | None = None  # noqa: N815


class Envelope(msgspec.Struct, kw_only=True):
    """The body of `POST /api/v1/ingest/batch`. Messages stay raw: each is judged alone (`records.parse`).

    `sessionId` is the session of every message that names none; `warnings` are the codes of what was replaced in it,
    `todo_warnings` and `config_warnings` those of the parts. `raw_todos` and `raw_config` are the bytes that they were read from.
    """

    messages: list[msgspec.Raw] = []
    todos: list[TodoFile] = []
    config: Config | None = None
    sessionId: str | None = None  # noqa: N815
    warnings: tuple[str, ...] = ()
    todo_warnings: list[tuple[str, ...]] = []
    config_warnings: tuple[str, ...] = ()
    raw_todos: list[msgspec.Raw] = []
    raw_config: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it to ingest."""
        return not (
            self.messages or self.todos or (self.config and (self.config.config or self.config.settings))
        )


class IngestStats(BaseModel):
    """Counts of one batch; received = processed + skipped + failed."""

    messages_received: int
    messages_processed: int
    messages_skipped: int = Field(description="Duplicates of what was stored before.")
    messages_failed: int
    sessions_created: int
    sessions_updated: int
    todos_processed: int
    todos_superseded: int = Field(0, description="Todo lists older than what is stored.")
    todos_failed: int = Field(0, description="Todo lists that cannot be stored; kept as rejects.")
    config_updated: bool
    config_superseded: bool = Field(False, description="The configuration is older than what is stored.")
    config_failed: bool = Field(False, description="The configuration cannot be stored; kept as a reject.")
    projects_created: list[str]
    duration_ms: int


class BatchIngestResponse(BaseModel):
    """What became of one batch."""

    success: bool
    stats: IngestStats
    message: str
    errors: list[dict[str, Any]] | None = Field(
        None,
        description="Failed messages: index, uuid, code, reason. Todo lists and a configuration that cannot be stored: part, code, reason.",
    )
    warnings: list[dict[str, Any]] | None = Field(
        None,
        description="What was stored although odd (of todo lists and a configuration: part, code), and conflicts. Those older than what "
        "is stored: part, code `superseded`, superseded_by (a receipt).",
    )


class _Parts(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b"")
    messages: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    todos: list[msgspec.Raw] = []
    config: msgspec.Raw = msgspec.Raw(b"null")
    sessionId: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815


_parts = msgspec.json.Decoder(_Parts)


def decode_envelope(body: bytes) -> Envelope:
    """The envelope of a batch's body, as the front door accepts it.

    Raises `msgspec.ValidationError` (another shape), `msgspec.DecodeError` (no JSON), `RecursionError` (too deep). What
    is odd within a message stays there, so that it is stored with a warning; elsewhere it is read as in a message.
    """
    return _envelope(_read(body))


def _envelope(parts: _Parts) -> Envelope:
    session, config = decode_value(bytes(parts.sessionId)), decode_value(bytes(parts.config))
    todos = [decode_value(bytes(todo)) for todo in parts.todos]
    return Envelope(
        messages=parts.messages or [],
        todos=msgspec.convert([todo.value for todo in todos], list[TodoFile]),
        config=msgspec.convert(config.value, Config | None),
        sessionId=msgspec.convert(session.value, str | None),
        warnings=session.warnings,
        todo_warnings=[todo.warnings for todo in todos],
        config_warnings=config.warnings,
        raw_todos=parts.todos,
        raw_config=parts.config,
    )


def _read(body: bytes) -> _Parts:
    try:
        return _parts.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        replaced = replace_lone_surrogates(body)
        parts = _parts.decode(replaced)
    (parts.sessionId,) = _as_sent([parts.sessionId], body, replaced)
    (parts.config,) = _as_sent([parts.config], body, replaced)
    parts.todos = _as_sent(parts.todos, body, replaced)
    if parts.messages is not msgspec.UNSET:
        parts.messages = _as_sent(parts.messages, body, replaced)
    return parts


def _as_sent(values: list[msgspec.Raw], body: bytes, replaced: bytes) -> list[msgspec.Raw]:
    """Values that stand in `replaced` one after the other, as they stand in `body`."""
    if not any(b"\\ufffd" in bytes(value) for value in values):
        return values
    sent: list[msgspec.Raw] = []
    position = 0
    for text in map(bytes, values):
        position = replaced.index(text, position)
        sent.append(msgspec.Raw(body[position : position + len(text)]))
        position += len(text)
    return sent


def decode_body(body: bytes, *, endpoint: str | None = None) -> Envelope:
    """The envelope of a landed payload, which is what the `endpoint` that took it (`batch`, `message`) takes.

    What came otherwise is looked at: a batch, a single message, or the lines of a transcript file. That never fails:
    what is no JSON at all becomes a record that `records.parse` turns down with a reason. Raises as `decode_envelope`
    does for a `batch` that is none.
    """
    if endpoint == "message":
        return Envelope(messages=[msgspec.Raw(body.strip(b" \t\r\n"))])
    if endpoint == "batch":
        return decode_envelope(body)
    stripped = body.lstrip(b"\xef\xbb\xbf\0 \t\r\n")
    if stripped.startswith(b"{"):
        try:
            parts = _read(stripped)
            if bytes(parts.type) and parts.messages is msgspec.UNSET:
                return Envelope(messages=[msgspec.Raw(stripped)])
            envelope = _envelope(parts)
        except (msgspec.DecodeError, UnicodeDecodeError, NotJsonError, RecursionError):
            pass
        else:
            return envelope if not envelope.empty else Envelope(messages=[msgspec.Raw(stripped)])
    return _lines(body)


def _lines(body: bytes) -> Envelope:
    pieces = (
        line[piece.start : piece.end] if piece.raw is None else piece.raw
        for line in body.split(b"\n")
        for piece in split_line(line)
    )
    return Envelope(messages=[msgspec.Raw(piece) for piece in pieces])


PART_MARK = b'{"messages":[],'


def is_part(record: bytes) -> bool:
    """Whether a rejected record is a todo list or a configuration, which is kept as a batch of its own, and not a message."""
    return record.startswith(PART_MARK)
