"""Streams as they land: cut into durable parts, and what the ledger knows of a stream. No HTTP here.

A stream is a sequence of payloads (parts), each made durable as soon as it is full or a moment old. Its parts carry
idempotency keys that count up, so that two senders of one stream cannot both go on, and a lost answer doubles nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.entities.flow import NAME, REST_OF_LINE, SEGMENT_BYTES, lines_in
from ingestion_assets.entities.lines import LONGEST_LINE
from ingestion_assets.landing import drop_queries
from ingestion_assets.landing.flows import day_of_arrival

_LINE_OPEN = "line_open"
"""The attribute of a part that ends within a line that is too long."""
_KEYS_AT_ONCE = 100
_STEPS = (_KEYS_AT_ONCE**3, _KEYS_AT_ONCE**2, _KEYS_AT_ONCE, 1)
LONGEST_STREAM = timedelta(days=7)
TOTALS = ("processed", "resolved", "inserted", "updated", "unchanged", "superseded", "failed", "waiting")


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
    """How far a channel of a stream is durable: parts, lines, bytes of text; `ended` once its end was declared.

    `within`: up to somewhere in a line that is too long.
    """

    parts: int = 0
    lines: int = 0
    bytes: int = 0
    ended: bool = False
    within: bool = False
    partition: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stream that is ready to land: whole lines, but for the last one of the stream."""

    body: bytes
    attributes: dict[str, str]
    key: str
    lines: int


def day_of(stream: str, *, now: datetime) -> str:
    """The partition of a stream: the day it began, where its name tells (UUIDv7), else today. Never a day to come, which has no partition."""
    try:
        made = UUID(stream)
    except ValueError:
        return day_of_arrival(now)
    if made.version != 7:
        return day_of_arrival(now)
    began = datetime.fromtimestamp((made.int >> 80) / 1000, UTC)
    return day_of_arrival(began) if timedelta() <= now - began <= LONGEST_STREAM else day_of_arrival(now)


def acknowledged(connection: sa.Connection, *, principal: str, name: StreamName) -> Acknowledged:
    """What the ledger knows of a channel; as quick for many parts as for few."""
    parts = 0
    for step in _STEPS:  # parts have no gaps: the last one is looked for in ever smaller steps
        keys = [name.key(parts + step * count - 1) for count in range(1, _KEYS_AT_ONCE + 1)]
        known = drop_queries.known_keys(connection, flow=NAME, principal=principal, keys=keys)
        parts = max((int(key.rpartition(":")[2]) + 1 for key in known), default=parts)
    if not parts:
        return Acknowledged()
    last = drop_queries.by_key(connection, flow=NAME, principal=principal, key=name.key(parts - 1))
    given = last.attributes
    return Acknowledged(
        parts=parts,
        lines=int(given.get("first_line", 0)) + int(given.get("lines", 0)),
        bytes=int(given.get("first_byte", 0)) + last.size_bytes,
        ended=given.get("stream_end") == "true",
        within=given.get(_LINE_OPEN) == "true",
        partition=last.partition,
    )


def progress(
    connection: sa.Connection, *, principal: str, name: StreamName, parts: int
) -> tuple[int, dict[str, int]]:
    """How many of a channel's parts no run has ended yet, and the sums of what became of the others' records."""
    return drop_queries.sums_of_results(
        connection, flow=NAME, principal=principal, key_prefix=name.key(0)[:-1], number=parts, figures=TOTALS
    )


class Cutter:
    """Cuts the text of a channel into parts that end with a line, going on where it was acknowledged.

    Of a line that is too long, no more than the limit is held: what came of it is a part of its own, which will be rejected,
    and the rest of it lands in parts that count no line.
    """

    def __init__(self, name: StreamName, after: Acknowledged, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._name = name
        self._size = segment_bytes
        self._parts, self.lines, self.bytes = after.parts, after.lines, after.bytes
        self._within = after.within
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
        """Take more text; gives the parts that are full."""
        self._buffer += text
        while self._within or len(self._buffer) >= self._size:
            cut = -1 if self._within else self._buffer.rfind(b"\n", 0, self._size)
            cut = cut if cut >= 0 else self._buffer.find(b"\n")
            if cut >= 0:
                yield self._take(cut + 1)
            elif len(self._buffer) > (self._size if self._within else LONGEST_LINE):
                yield self._take(len(self._buffer), line_open=True)
            else:
                return

    def flush(self) -> Segment | None:
        """The whole lines that are held, if any."""
        cut = self._buffer.rfind(b"\n")
        return self._take(cut + 1) if cut >= 0 else None

    def end(self) -> Segment:
        """All that is left, maybe nothing, as the part that ends the stream."""
        return self._take(len(self._buffer), end=True)

    def rest(self) -> Segment | None:
        """All that is left, for a stream that goes on in another request."""
        return self._take(len(self._buffer), line_open=self._within) if self._buffer else None

    def _take(self, size: int, *, end: bool = False, line_open: bool = False) -> Segment:
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        count = 0 if self._within else lines_in(body)
        attributes = {
            "stream": self._name.stream,
            "channel": self._name.channel,
            "lines": str(count),
            "first_line": str(self.lines),
            "first_byte": str(self.bytes),
        }
        if end:
            attributes["stream_end"] = "true"
        if self._within:
            attributes[REST_OF_LINE] = "true"
        if line_open:
            attributes[_LINE_OPEN] = "true"
        self._within = line_open
        segment = Segment(body, attributes, self._name.key(self._parts), count)
        self._parts += 1
        self.lines += count
        self.bytes += len(body)
        return segment
