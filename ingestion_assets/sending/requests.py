"""What is sent: the body of a request out of raw objects, compressed while it is put together, and its key.

The key is made from the content, so that the same lines sent again (after a crash between the answer and the
note of it) are recognised by the front door as the same request.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import zstandard

from ingestion_assets.sending.slices import Problem, Record
from ingestion_assets.sending.sources import Source

Encoding = Literal["zstd", "gzip", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request to be: records of one file, or a todo list or settings (`extra`, a member of the body as
    JSON).
    """

    path: str
    session_id: str | None = None
    records: Sequence[Record] = ()
    extra: bytes | None = None

    def places(self) -> list[tuple[int, int]]:
        """Line and offset of each record, in the order the front door counts them in."""
        return [(record.line, record.offset) for record in self.records] or [(1, 0)]

    def halves(self) -> tuple["Outgoing", "Outgoing"]:
        """The same records as two requests."""
        middle = len(self.records) // 2
        return self._only(self.records[:middle]), self._only(self.records[middle:])

    def _only(self, records: Sequence[Record]) -> "Outgoing":
        return Outgoing(path=self.path, session_id=self.session_id, records=records)

    def body_parts(self) -> Iterator[bytes]:
        if self.extra is not None:
            yield b"{" + self.extra + b"}"
            return
        yield b"{"
        if self.session_id is not None:
            yield b'"sessionId":' + json.dumps(self.session_id).encode() + b","
        yield b'"messages":['
        for number, record in enumerate(self.records):
            if number:
                yield b","
            yield record.raw
        yield b"]}"


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


def document(source: Source, content: bytes) -> Outgoing | Problem:
    """A todo list or a settings file as a request, or why it cannot be sent."""
    text = content.strip(b" \t\r\n\x00\xef\xbb\xbf")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _not_sendable(source.path, "invalid_json", str(error))
    if source.kind == "config":
        if not isinstance(value, dict):
            return _not_sendable(source.path, "not_an_object", "settings are a JSON object")
        member = b"config" if source.path.name == "config.json" else b"settings"
        return Outgoing(path=str(source.path), extra=b'"config":{"' + member + b'":' + text + b"}")
    if not isinstance(value, list):
        return _not_sendable(source.path, "not_a_list", "a todo file is a JSON list of items")
    header = json.dumps(
        {"sessionId": source.session_id, "filename": source.path.name, "todoCount": len(value)}
    ).encode()
    return Outgoing(path=str(source.path), extra=b'"todos":[' + header[:-1] + b',"todos":' + text + b"}]")


def _not_sendable(path: Path, code: str, reason: str) -> Problem:
    return Problem(path=str(path), line=1, offset=0, code=code, reason=reason)
