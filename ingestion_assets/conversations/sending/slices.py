"""Reads a transcript from an offset on and cuts it into slices, each of which becomes one request.

Knows files, lines and offsets; what a line holds is `transcript`'s matter, what happens to a slice
`sender`'s.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingestion_assets.conversations.transcript import split_line
from ingestion_assets.sending.files import OpenFile

FINGERPRINT_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What could not be sent, or was sent and rejected. `line` counts from 1, `offset` is in bytes from 0."""

    path: str
    line: int
    offset: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """One object as it will be sent, and where it was found: file, line and offset as in `Problem`."""

    raw: bytes
    path: str
    line: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a file was read: the next byte, its line number, and fingerprints that recognise the file
    again.
    """

    offset: int = 0
    line: int = 1
    head_bytes: int = 0
    head: str = ""
    tail_bytes: int = 0
    tail: str = ""


@dataclass(slots=True, kw_only=True)
class Slice:
    """Consecutive lines of one file. `mark` is where the next slice starts."""

    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    incomplete: Problem | None = None
    start: int = 0
    record_bytes: int = 0
    mark: Mark = field(default_factory=Mark)


def read_slices(
    file: OpenFile, *, path: str, mark: Mark, max_records: int, max_bytes: int
) -> Iterator[Slice]:
    """Slices of at most `max_records` objects and `max_bytes` bytes of them; a larger object is a slice of
    its own.

    A tail that may still grow ends the last slice before it and is named there as `incomplete`; so is what is
    lost in damaged compressed data.
    """
    head = file.read_at(0, FINGERPRINT_BYTES)
    tail = file.read_at(max(0, mark.offset - FINGERPRINT_BYTES), min(FINGERPRINT_BYTES, mark.offset))
    offset, line = mark.offset, mark.line
    current = Slice(start=offset)
    for raw in file.lines_from(mark.offset):
        terminated = raw.endswith(b"\n")
        consumed = len(raw) if terminated else 0
        for piece in split_line(raw, terminated=terminated):
            place = Problem(
                path=path,
                line=line,
                offset=offset + piece.start,
                code=piece.code or "",
                reason=piece.reason or "",
            )
            if piece.code == "incomplete":
                current.incomplete = place
                break
            if piece.raw is not None:
                too_large = current.record_bytes + len(piece.raw) > max_bytes
                if current.records and (len(current.records) >= max_records or too_large):
                    # Cut before this object, even in the middle of a line: the mark counts bytes.
                    before = raw[: piece.start]
                    current.mark = _mark(offset + piece.start, line, head, tail + before)
                    yield current
                    current = Slice(start=current.mark.offset)
                current.records.append(Record(piece.raw, path, line, place.offset))
                current.record_bytes += len(piece.raw)
            else:
                current.problems.append(place)
            current.notes.update(piece.notes)
            if not terminated:
                consumed = piece.end
        if not raw.strip(b"\x00\r\n\t ") and b"\x00" in raw and terminated:
            current.notes["nul_bytes"] += 1
        tail = raw[:consumed][-FINGERPRINT_BYTES:] if consumed >= FINGERPRINT_BYTES else tail + raw[:consumed]
        tail = tail[-FINGERPRINT_BYTES:]
        offset += consumed
        line += terminated
    current.mark = _mark(offset, line, head, tail)
    if file.damage:
        code = "incomplete" if file.growing else "damaged"
        current.incomplete = Problem(path=path, line=line, offset=offset, code=code, reason=file.damage)
    if offset > current.start or current.incomplete:
        yield current


def still_the_same(file: OpenFile, *, mark: Mark) -> bool:
    """Whether the open file begins with what was read up to the mark (judged by its first and last bytes)."""
    head = file.read_at(0, mark.head_bytes)
    tail = file.read_at(mark.offset - mark.tail_bytes, mark.tail_bytes)
    return _digest(head) == mark.head and _digest(tail) == mark.tail


def _mark(offset: int, line: int, head: bytes, tail: bytes) -> Mark:
    head, tail = head[:offset], tail[-FINGERPRINT_BYTES:]
    return Mark(
        offset=offset,
        line=line,
        head_bytes=len(head),
        head=_digest(head),
        tail_bytes=len(tail),
        tail=_digest(tail),
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
