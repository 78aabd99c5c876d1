"""Streams as they land: decoding, cutting into durable parts, and what the ledger knows of a stream. No HTTP here.

A stream is a sequence of payloads (parts), each made durable as soon as it is full or a moment old. Its parts carry
idempotency keys that count up, so that two senders of one stream cannot both go on, and a lost answer doubles nothing.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import zstandard

from ingestion_assets.entities.flow import SEGMENT_BYTES, lines_in, partition_of

LONGEST_LINE = 16 * 2**20
KEYS_AT_ONCE = 500
LONGEST_STREAM = timedelta(days=7)
_FEED = 1024  # compressed bytes decoded at a time: what they may swell to is bounded
_PARTS = sa.text("""
    SELECT id, partition, state, size_bytes, attributes, result, idempotency_key FROM ingestion.drops
    WHERE principal = :principal AND flow = 'entities' AND idempotency_key = ANY(:keys)
""")


class BrokenStreamError(Exception):
    """Bytes that are not what their encoding says, or a line that is too long; says which."""


@dataclass(frozen=True, slots=True)
class StreamName:
    """A stream of one sender, and which of its parallel channels."""

    stream: str
    channel: str = "0"

    def key(self, number: int) -> str:
        """The idempotency key of a part."""
        return f"stream:{self.stream}:{self.channel}:{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """How far a channel of a stream is durable: parts, lines, bytes of text; `ended` once its end was declared."""

    parts: int = 0
    lines: int = 0
    bytes: int = 0
    ended: bool = False
    partition: str | None = None
    unfinished: int = 0
    totals: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stream that is ready to land: whole lines, but for the last one of the stream."""

    body: bytes
    attributes: dict[str, str]
    key: str
    lines: int


TOTALS = ("processed", "resolved", "inserted", "updated", "unchanged", "failed", "waiting")


def day_of(stream: str, *, now: datetime) -> str:
    """The partition of a stream: the day it began, where its name tells (UUIDv7), else today. Never a day to come, which has no partition."""
    try:
        made = UUID(stream)
    except ValueError:
        return partition_of(now)
    if made.version != 7:
        return partition_of(now)
    began = datetime.fromtimestamp((made.int >> 80) / 1000, UTC)
    return partition_of(began) if timedelta() <= now - began <= LONGEST_STREAM else partition_of(now)


def acknowledged(connection: sa.Connection, *, principal: str, name: StreamName) -> Acknowledged:
    """What the ledger knows of a channel, with the sums of what became of its records so far."""
    sums: dict[str, int] = dict.fromkeys(TOTALS, 0)
    parts = lines = size = unfinished = 0
    ended, partition = False, None
    while True:
        keys = [name.key(number) for number in range(parts, parts + KEYS_AT_ONCE)]
        rows = connection.execute(_PARTS, {"principal": principal, "keys": keys}).all()
        for row in rows:
            parts += 1
            partition = partition or row.partition
            size += row.size_bytes
            lines += int(row.attributes.get("lines", 0))
            ended = ended or row.attributes.get("stream_end") == "true"
            unfinished += row.state not in {"done", "failed"}
            for total in TOTALS:
                sums[total] += int((row.result or {}).get(total, 0))
        if len(rows) < KEYS_AT_ONCE:
            return Acknowledged(
                parts=parts, lines=lines, bytes=size, ended=ended, partition=partition, unfinished=unfinished, totals=sums
            )  # fmt: skip


class Cutter:
    """Cuts the text of a channel into parts that end with a line, going on where it was acknowledged."""

    def __init__(self, name: StreamName, after: Acknowledged, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._name = name
        self._size = segment_bytes
        self._parts, self.lines, self.bytes = after.parts, after.lines, after.bytes
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes that are not in a part yet."""
        return len(self._buffer)

    @property
    def has_lines(self) -> bool:
        """Whether a whole line is held."""
        return b"\n" in self._buffer

    def add(self, text: bytes) -> Iterator[Segment]:
        """Take more text; gives the parts that are full. Raises `BrokenStreamError` for a line without an end."""
        self._buffer += text
        while len(self._buffer) >= self._size:
            cut = self._buffer.rfind(b"\n", 0, self._size)
            cut = cut if cut >= 0 else self._buffer.find(b"\n")
            if cut < 0:
                if len(self._buffer) > LONGEST_LINE:
                    raise BrokenStreamError(f"line {self.lines + 1} is longer than {LONGEST_LINE} bytes")
                return
            yield self._take(cut + 1)

    def flush(self) -> Segment | None:
        """The whole lines that are held, if any."""
        cut = self._buffer.rfind(b"\n")
        return self._take(cut + 1) if cut >= 0 else None

    def end(self) -> Segment:
        """All that is left, maybe nothing, as the part that ends the stream."""
        return self._take(len(self._buffer), end=True)

    def rest(self) -> Segment | None:
        """All that is left, for a stream that goes on in another request."""
        return self._take(len(self._buffer)) if self._buffer else None

    def _take(self, size: int, *, end: bool = False) -> Segment:
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        count = lines_in(body)
        attributes = {
            "stream": self._name.stream,
            "channel": self._name.channel,
            "lines": str(count),
            "first_line": str(self.lines),
            "first_byte": str(self.bytes),
        }
        if end:
            attributes["stream_end"] = "true"
        segment = Segment(body, attributes, self._name.key(self._parts), count)
        self._parts += 1
        self.lines += count
        self.bytes += len(body)
        return segment


Decode = Callable[[bytes], Iterator[bytes]]


def decoder(coding: str) -> tuple[Decode, Callable[[], None]]:
    """A function from arriving bytes to text, and one that raises `BrokenStreamError` if the text ended too early."""
    if coding == "identity":
        return lambda data: iter([data] if data else []), lambda: None
    make: Callable[[], Any] = (
        (lambda: zlib.decompressobj(wbits=31))
        if coding == "gzip"
        else zstandard.ZstdDecompressor(max_window_size=8 * 2**20).decompressobj
    )
    current = make()
    begun = False

    def decode(data: bytes) -> Iterator[bytes]:
        nonlocal current, begun
        pending = memoryview(data)
        while pending:
            if current.eof:
                current, begun = make(), False
            feed, pending = bytes(pending[:_FEED]), pending[_FEED:]
            while feed:
                begun = True
                try:
                    text = current.decompress(feed)
                except (zlib.error, zstandard.ZstdError) as error:
                    raise BrokenStreamError(f"the text is not valid {coding}: {error}") from error
                if text:
                    yield text
                feed = current.unused_data if current.eof else b""
                if feed:
                    current = make()

    def check() -> None:
        if begun and not current.eof:
            raise BrokenStreamError(f"the text is not valid {coding}: it ends too early")

    return decode, check
