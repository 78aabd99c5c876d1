"""Files of delimited messages as text: decompressed, `.tbl` lines given their prefix, read from where they were acknowledged."""

import os
import re
import select
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from ingestion_assets.entities.lines import BOM
from ingestion_assets.sending.files import GZIP_MAGIC, open_regular

STDIN = "-"
PART_BYTES = 4 * 2**20
LINGER_S = 1.0
_LINE = re.compile(rb"^(?![ \t\r]*$)", re.MULTILINE)
_FED_BYTES = 1024  # compressed bytes decoded at a time: what they may swell to is bounded


class DamagedFileError(Exception):
    """Compressed data that is damaged, or ends in the middle; all whole lines before it were given."""


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A file of messages, or standard input (`-`). `prefix` goes before each line where the lines have none."""

    path: str
    prefix: str | None = None

    @property
    def size(self) -> int:
        """Bytes on disk, 0 for standard input."""
        return 0 if self.path == STDIN else Path(self.path).stat().st_size

    def identity(self) -> str:
        """What tells this content from another: path, size, time of change, and prefix."""
        if self.path == STDIN:
            return STDIN
        status = Path(self.path).stat()
        return f"{Path(self.path).absolute()}:{status.st_size}:{status.st_mtime_ns}:{self.prefix}"


def parts(file: MessageFile, *, after: int) -> Iterator[tuple[bytes, int]]:
    """Text of whole lines, from byte `after` of the text on, and how many bytes of the file were read for it.

    Raises OSError; DamagedFileError behind the last whole line.
    """
    if file.path == STDIN:
        yield from _of_stdin(file, after)
        return
    with open_regular(Path(file.path)) as raw:
        skipped, begins = 0, True
        for text in _whole_lines(_text(raw)):
            whole = _prefixed(text, file.prefix, begins=begins)
            begins = False
            drop = min(len(whole), after - skipped)
            skipped += drop
            if len(whole) > drop:
                yield whole[drop:], raw.tell()


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same text in pieces of some size that end with a line; the last line may have no end."""
    held = bytearray()
    try:
        for piece in pieces:
            held += piece
            if len(held) >= PART_BYTES and (cut := held.rfind(b"\n") + 1):
                yield bytes(held[:cut])
                del held[:cut]
    except DamagedFileError:
        if cut := held.rfind(b"\n") + 1:
            yield bytes(held[:cut])
        raise
    if held:
        yield bytes(held)


def _of_stdin(file: MessageFile, after: int) -> Iterator[tuple[bytes, int]]:
    if after:
        raise ValueError("standard input cannot be read again")
    source = sys.stdin.fileno()
    buffer, begins = b"", True
    first = time.monotonic()
    while True:
        ready, _, _ = select.select([source], [], [], LINGER_S)
        piece = os.read(source, 2**16) if ready else b""
        ended = bool(ready) and not piece
        if not buffer:
            first = time.monotonic()
        buffer += piece
        if ended or len(buffer) >= PART_BYTES or time.monotonic() - first > LINGER_S:
            cut = len(buffer) if ended else buffer.rfind(b"\n") + 1
            if cut:
                yield _prefixed(buffer[:cut], file.prefix, begins=begins), 0
                buffer, begins = buffer[cut:], False
                first = time.monotonic()
        if ended:
            return


def _text(raw: BinaryIO) -> Iterator[bytes]:
    magic = raw.read(4)
    raw.seek(0)
    make: Callable[[], Any]
    if magic[:2] == GZIP_MAGIC:
        make = lambda: zlib.decompressobj(wbits=31)  # noqa: E731
    elif magic == b"\x28\xb5\x2f\xfd":
        make = zstandard.ZstdDecompressor().decompressobj
    else:
        yield from iter(lambda: raw.read(PART_BYTES), b"")
        return
    current, begun = make(), False
    for piece in iter(lambda: raw.read(_FED_BYTES), b""):
        feed = piece if begun else piece.lstrip(b"\0")  # padding between members is no data
        while feed:
            begun = True
            try:
                text = current.decompress(feed)
            except (zlib.error, zstandard.ZstdError) as error:
                raise DamagedFileError(f"the compressed data is damaged: {error}") from error
            if text:
                yield text
            feed = b""
            if current.eof:
                feed, current, begun = current.unused_data.lstrip(b"\0"), make(), False
    if begun:
        raise DamagedFileError("the compressed data ends in the middle")


def _prefixed(text: bytes, prefix: str | None, *, begins: bool) -> bytes:
    """Every line that says something with the prefix before it; a byte order mark where the text `begins` is no part of a line."""
    if prefix is None:
        return text
    whole = _LINE.sub(prefix.encode() + b"|", text.removeprefix(BOM) if begins else text)
    return whole if not whole or whole.endswith(b"\n") else whole + b"\n"
