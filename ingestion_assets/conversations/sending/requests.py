"""What is sent: the body of a request out of raw objects, compressed while it is put together, and its key.

The key is made from the content, so that the same lines sent again (after a crash between the answer and the
note of it) are recognised by the front door as the same request.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec
import zstandard

from ingestion_assets.conversations.sending.slices import Problem, Record
from ingestion_assets.conversations.sending.sources import Source
from ingestion_assets.sending.files import shown

Encoding = Literal["zstd", "gzip", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request to be: records of one member of the body, of one file or of several. `session_id` is the session of
    messages that name none.
    """

    member: Literal["messages", "todos", "config"] = "messages"
    session_id: str | None = None
    records: Sequence[Record]

    def places(self) -> list["Place"]:
        """File, line and offset of each record, in the order the front door counts them in."""
        return [(record.path, record.line, record.offset) for record in self.records]

    def halves(self) -> tuple["Outgoing", "Outgoing"]:
        """The same records as two requests."""
        middle = len(self.records) // 2
        return replace(self, records=self.records[:middle]), replace(self, records=self.records[middle:])

    def body_parts(self) -> Iterator[bytes]:
        if self.member == "config":
            yield b'{"config":' + self.records[0].raw + b"}"
            return
        yield b"{"
        if self.session_id is not None:
            yield b'"sessionId":' + json.dumps(self.session_id).encode() + b","
        yield b'"' + self.member.encode() + b'":['
        for number, record in enumerate(self.records):
            if number:
                yield b","
            yield record.raw
        yield b"]}"


Place = tuple[str, int, int]
"""File, line, and offset of a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request body as it goes over the wire, with the key of its content."""

    content: bytes = field(repr=False)
    key: str
    headers: dict[str, str]


def encode(outgoing: Outgoing, *, encoding: Encoding) -> Body:
    """Compress and key the request without holding its uncompressed text as one piece."""
    digest = hashlib.sha256()
    size = sum(map(len, outgoing.body_parts()))

    def read() -> Iterator[bytes]:
        for part in outgoing.body_parts():
            digest.update(part)
            yield part

    content = b"".join(_compressed(read(), encoding=encoding, size=size))
    headers = {"Content-Type": "application/json"}
    if encoding != "none":
        headers["Content-Encoding"] = encoding
    return Body(content=content, key=f"send-{digest.hexdigest()[:40]}", headers=headers)


def _compressed(parts: Iterable[bytes], *, encoding: Encoding, size: int) -> Iterator[bytes]:
    if encoding == "none":
        yield from parts
        return
    compressor = (
        zstandard.ZstdCompressor(level=3).compressobj(size=size)
        if encoding == "zstd"
        else zlib.compressobj(level=4, wbits=31)
    )
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()


def document(source: Source, text: bytes) -> Record | Problem:
    """A todo list as an entry of `todos`, or a settings file as `config`; or why it cannot be sent."""
    text = text.strip(b" \t\r\n\x00\xef\xbb\xbf")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _not_sendable(source.name, "invalid_json", str(error))
    if source.kind == "config":
        if not isinstance(value, dict):
            return _not_sendable(source.name, "not_an_object", "settings are a JSON object")
        member = b"config" if source.path.name == "config.json" else b"settings"
        return Record(b'{"' + member + b'":' + text + b"}", source.name, 1, 0)
    if not isinstance(value, list):
        return _not_sendable(source.name, "not_a_list", "a todo file is a JSON list of items")
    header = json.dumps(
        {"sessionId": source.session_id, "filename": shown(source.path.name), "todoCount": len(value)}
    ).encode()
    return Record(header[:-1] + b',"todos":' + text + b"}", source.name, 1, 0)


def _not_sendable(path: str, code: str, reason: str) -> Problem:
    return Problem(path=path, line=1, offset=0, code=code, reason=reason)
