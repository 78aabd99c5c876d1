"""What a client sends to the conversations flow, and what it is answered. No rules about single messages here."""

from typing import Any

import msgspec

from ingestion_assets.conversations.transcript import split_line
from ingestion_assets.landing.json_text import decode, replace_lone_surrogates

MAX_MESSAGES = 1000


class TodoFile(msgspec.Struct, kw_only=True):
    """One todo file of a session. Items keep whatever keys the client's version writes."""

    sessionId: str  # noqa: N815
    filename: str
    todos: list[Any]
    todoCount: int | None = None  # noqa: N815


class Config(msgspec.Struct, kw_only=True):
    """A user's configuration: `config.json`, `settings.json`, or both."""

    config: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    userId: str | None = None  # noqa: N815


class Envelope(msgspec.Struct, kw_only=True):
    """The body of `POST /api/v1/ingest/batch`. Messages stay raw: each is judged alone (`records.parse`).

    `sessionId` is the session of every message that names none.
    """

    messages: list[msgspec.Raw] = []
    todos: list[TodoFile] = []
    config: Config | None = None
    sessionId: str | None = None  # noqa: N815

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it to ingest."""
        return not (
            self.messages or self.todos or (self.config and (self.config.config or self.config.settings))
        )


class IngestStats(msgspec.Struct, kw_only=True):
    """Counts of one batch; always received = processed + skipped + failed."""

    messages_received: int = 0
    messages_processed: int = 0
    messages_skipped: int = 0
    messages_failed: int = 0
    sessions_created: int = 0
    sessions_updated: int = 0
    todos_processed: int = 0
    config_updated: bool = False
    projects_created: list[str] = []
    duration_ms: int = 0


class BatchIngestResponse(msgspec.Struct, kw_only=True):
    """The result body of one batch.

    `errors` lists failed messages (index, uuid, code, reason); `warnings` what was stored although odd, and conflicts.
    """

    success: bool
    stats: IngestStats
    message: str
    errors: list[dict[str, Any]] | None = None
    warnings: list[dict[str, Any]] | None = None


class _Face(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")


_envelope = msgspec.json.Decoder(Envelope)
_face = msgspec.json.Decoder(_Face)


def decode_envelope(body: bytes) -> Envelope:
    """The envelope of a batch's body.

    Raises `msgspec.ValidationError` (another shape), `msgspec.DecodeError` (no JSON), `RecursionError` (too deep). An
    escape of a lone surrogate is no error; a message keeps it, so that it is stored with a warning.
    """
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        replaced = replace_lone_surrogates(body)
        envelope = _envelope.decode(replaced)
    position = 0
    for index, message in enumerate(envelope.messages):
        text = bytes(message)
        position = replaced.index(text, position)
        envelope.messages[index] = msgspec.Raw(body[position : position + len(text)])
        position += len(text)
    return envelope


def decode_body(body: bytes) -> Envelope:
    """The envelope of a landed payload: a batch, a single message, or the lines of a transcript file.

    The front door accepts the first two; the third is a `.jsonl` file put into the inbox. Never fails: what is no
    JSON at all becomes a record that `records.parse` turns down with a reason.
    """
    stripped = body.lstrip(b"\xef\xbb\xbf\0 \t\r\n")
    if stripped.startswith(b"{"):
        try:
            face = decode(stripped, _face)
            if bytes(face.type) and not bytes(face.messages):
                return Envelope(messages=[msgspec.Raw(stripped)])
            envelope = decode_envelope(stripped)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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
