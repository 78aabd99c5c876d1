"""Files of delimited messages as text: decompressed, `.tbl` lines given their prefix, read from where they were acknowledged."""

import gzip
import io
import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

STDIN = "-"
PART_BYTES = 4 * 2**20
LINGER_S = 1.0


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
    """Text of whole lines, from byte `after` of the text on, and how many bytes of the file were read for it."""
    if file.path == STDIN:
        yield from _of_stdin(file, after)
        return
    with Path(file.path).open("rb") as raw:
        text = _decompressed(raw)
        rest = b""
        skipped = 0
        while True:
            piece = text.read(PART_BYTES)
            block = rest + piece
            cut = block.rfind(b"\n") + 1 if piece else len(block)
            whole, rest = _prefixed(block[:cut], file.prefix), block[cut:]
            drop = min(len(whole), after - skipped)
            skipped += drop
            if len(whole) > drop:
                yield whole[drop:], raw.tell()
            if not piece:
                return


def _of_stdin(file: MessageFile, after: int) -> Iterator[tuple[bytes, int]]:
    if after:
        raise ValueError("standard input cannot be read again")
    source = sys.stdin.fileno()
    buffer = b""
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
                yield _prefixed(buffer[:cut], file.prefix), 0
                buffer = buffer[cut:]
                first = time.monotonic()
        if ended:
            return


def _decompressed(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=False)
        return io.BufferedReader(reader)  # type: ignore[arg-type, return-value]
    return raw


def _prefixed(text: bytes, prefix: str | None) -> bytes:
    if prefix is None or not text:
        return text
    head = prefix.encode() + b"|"
    body = text[:-1] if text.endswith(b"\n") else text
    return head + body.replace(b"\n", b"\n" + head) + b"\n"
