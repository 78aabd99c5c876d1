"""The segment format: the drops of one group commit in one immutable file.

A segment is a sequence of records, each a header line of JSON with its checksum, and the body:

    {"id": …, "flow": …, …, "length": <bytes of the body that follows>}\\t<8 hexadecimal digits>\\n<body>\\n

and a last line with their number, `{"records": …}\\t<8 hexadecimal digits>\\n`, which tells a segment that was cut off. The checksum is the CRC-32 of the
segment's name and the line. It covers what the body's own digest does not; and as the name is not known to who sends a body, no body
can pass for a record where reading goes on after damage. Segments of before have neither checksums nor a last line. The body is
compressed with zstd where that makes it shorter and it is worth the time; one whose length equals its size is stored as it is. Headers
hold all that the ledger must know, so that a segment found without ledger rows can be registered late. A segment is written whole or
not at all (temporary name, fsync, rename; or one object PUT).
"""

import threading
import zlib
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec
import zstandard

from ingestion_assets.landing.drops import DropFacts, Header, NewDrop

COMPRESSED_FROM = 4096  # bytes; below, less is saved than asking for the thread's turn again costs
# As small as level 1 makes JSON, in five sixths of its time: such text repeats itself in long pieces, in a wide window.
_COMPRESSION = zstandard.ZstdCompressionParameters(
    compression_level=1,
    strategy=zstandard.STRATEGY_FAST,
    window_log=20,
    hash_log=15,
    min_match=7,
    target_length=2,
)


class Entry(msgspec.Struct, frozen=True):
    """A drop within a segment: its header, parsed and as it stands there, and the offset of its body."""

    header: Header
    line: bytes
    offset: int


class CorruptSegmentError(Exception):
    """The bytes are no segment, or not the ones that were written."""


_CHECKSUM = b"\t"
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Header)
_threads = threading.local()


class Packed(msgspec.Struct, frozen=True):
    """A drop made ready for a segment: digest taken, body compressed or not."""

    header: Header
    body: bytes


def pack(drop: NewDrop, *, drop_id: UUID, received_at: datetime) -> Packed:
    """Hash and compress one drop: about 2 ms per MB of JSON."""
    body = drop.body
    if len(body) >= COMPRESSED_FROM:
        compressed = _compressor().compress(body)
        if len(compressed) < len(body):
            body = compressed
    facts = {name: getattr(drop, name) for name in DropFacts.__struct_fields__}
    digest = sha256(drop.body).digest()
    return Packed(Header(drop_id, received_at, digest, len(drop.body), len(body), **facts), body)


def _compressor() -> zstandard.ZstdCompressor:
    """The thread's own; making one costs more than compressing a small body."""
    compressor = getattr(_threads, "compressor", None)
    if compressor is None:
        compressor = _threads.compressor = zstandard.ZstdCompressor(compression_params=_COMPRESSION)
    return compressor


def encode(drops: Sequence[Packed], path: str) -> tuple[bytes, list[Entry]]:
    """The bytes of the segment at `path`, and where each drop's body lies in them."""
    seed = _seed(path)
    parts: list[bytes] = []
    entries: list[Entry] = []
    position = 0
    for packed in drops:
        line = _encoder.encode(packed.header)
        checksum = b"\t%08x\n" % zlib.crc32(line, seed)
        parts += (line, checksum, packed.body, b"\n")
        offset = position + len(line) + len(checksum)
        entries.append(Entry(packed.header, line, offset))
        position = offset + len(packed.body) + 1
    parts.append(_end(len(entries), seed))
    return b"".join(parts), entries


class Contents(msgspec.Struct, frozen=True):
    """What a segment holds: whole drops, and what is wrong with the rest in words."""

    entries: list[Entry]
    faults: list[str]


def contents(segment: bytes, path: str) -> Contents:
    """The whole drops in the bytes of the segment at `path`; reading goes on at the next whole one after damage."""
    seed = _seed(path)
    has_checksums = segment.find(_CHECKSUM, 0, segment.find(b"\n") + 1) >= 0
    found = Contents([], [])
    position = read = 0
    while position < len(segment):
        if has_checksums and segment.startswith(_end(read, seed), position):
            return found
        try:
            entry, end = _record(segment, position, seed=seed if has_checksums else None)
        except CorruptSegmentError as error:
            found.faults.append(str(error))
            has_checksums = True
            position = _next_whole(segment, position, seed)
            continue
        read += 1
        try:
            unpack(segment[entry.offset : end - 1], digest=entry.header.sha256, size=entry.header.size)
        except CorruptSegmentError as error:
            found.faults.append(f"payload {entry.header.id}: {error}")
        else:
            found.entries.append(entry)
        position = end
    if not found.faults and (has_checksums or not segment):
        found.faults.append(f"it ends after {read} payloads, without its last line")
    return found


def _end(records: int, seed: int) -> bytes:
    line = b'{"records":%d}' % records
    return b"%b\t%08x\n" % (line, zlib.crc32(line, seed))


def _seed(path: str) -> int:
    return zlib.crc32(path.rpartition("/")[2].encode())


def _record(segment: bytes, position: int, *, seed: int | None) -> tuple[Entry, int]:
    """The record at `position` and where it ends; its header is verified if there is a seed. Raises `CorruptSegmentError`."""
    end = segment.find(b"\n", position)
    if end < 0:
        raise CorruptSegmentError(f"no header at byte {position}")
    line = segment[position:end]
    if seed is not None:
        line, _, checksum = line.rpartition(_CHECKSUM)
        if checksum != b"%08x" % zlib.crc32(line, seed):
            raise CorruptSegmentError(f"the header at byte {position} does not match its checksum")
    try:
        header = _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise CorruptSegmentError(f"bad header at byte {position}: {error}") from error
    if header.length < 0 or len(segment) < end + 1 + header.length + 1:
        raise CorruptSegmentError(f"body of {header.id} ends before its {header.length} bytes")
    return Entry(header, line, end + 1), end + 1 + header.length + 1


def _next_whole(segment: bytes, position: int, seed: int) -> int:
    """Where the next record with a checksum that fits begins; the end where there is none."""
    while (newline := segment.find(b'\n{"id":', position)) >= 0:
        position = newline + 1
        try:
            _record(segment, position, seed=seed)
        except CorruptSegmentError:
            continue
        return position
    return len(segment)


def unpack(body: bytes, *, digest: bytes, size: int) -> bytes:
    """The payload of a body, verified against its digest. Raises `CorruptSegmentError`."""
    try:
        payload = body if len(body) == size else zstandard.decompress(body, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptSegmentError(f"body does not decompress: {error}") from error
    if sha256(payload).digest() != digest:
        raise CorruptSegmentError("body does not match its SHA-256")
    return payload
