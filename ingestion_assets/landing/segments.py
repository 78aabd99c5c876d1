"""The segment format: the drops of one group commit in one immutable file.

A segment is a sequence of records, each a header line of JSON and the body:

    {"id": …, "flow": …, …, "length": <bytes of the body that follows>}\\n<body>\\n

The body is compressed with zstd where that makes it shorter and it is worth the time; one whose length equals its size is
stored as it is. Headers hold all that the ledger must know, so that a segment found without ledger rows can be registered late. A
segment is written whole or not at all (temporary name, fsync, rename; or one object PUT).
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec
import zstandard

from ingestion_assets.landing.drops import NewDrop

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


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands before a body in a segment."""

    id: UUID
    flow: str
    partition: str
    lane: str
    principal: str
    received_at: datetime
    sha256: bytes
    size: int
    records: int
    length: int
    subject: str | None = None
    idempotency_key: str | None = None
    attributes: dict[str, str] = {}


class Entry(msgspec.Struct, frozen=True):
    """A drop within a segment: its header, parsed and as it stands there, and the offset of its body."""

    header: Header
    line: bytes
    offset: int


class CorruptSegmentError(Exception):
    """The bytes are no segment, or not the ones that were written."""


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
    header = Header(
        id=drop_id,
        flow=drop.flow,
        partition=drop.partition,
        lane=drop.lane,
        principal=drop.principal,
        received_at=received_at,
        sha256=sha256(drop.body).digest(),
        size=len(drop.body),
        records=drop.records,
        length=len(body),
        subject=drop.subject,
        idempotency_key=drop.idempotency_key,
        attributes=dict(drop.attributes),
    )
    return Packed(header, body)


def _compressor() -> zstandard.ZstdCompressor:
    """The thread's own; making one costs more than compressing a small body."""
    compressor = getattr(_threads, "compressor", None)
    if compressor is None:
        compressor = _threads.compressor = zstandard.ZstdCompressor(compression_params=_COMPRESSION)
    return compressor


def encode(drops: Sequence[Packed]) -> tuple[bytes, list[Entry]]:
    """The segment's bytes, and where each drop's body lies in them."""
    parts: list[bytes] = []
    entries: list[Entry] = []
    position = 0
    for packed in drops:
        line = _encoder.encode(packed.header)
        parts += (line, b"\n", packed.body, b"\n")
        entries.append(Entry(packed.header, line, position + len(line) + 1))
        position += len(line) + len(packed.body) + 2
    return b"".join(parts), entries


def entries(segment: bytes) -> Iterator[Entry]:
    """Walk the drops of a segment. Raises `CorruptSegmentError`."""
    position = 0
    while position < len(segment):
        end = segment.find(b"\n", position)
        if end < 0:
            raise CorruptSegmentError(f"no header at byte {position}")
        line = segment[position:end]
        try:
            header = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise CorruptSegmentError(f"bad header at byte {position}: {error}") from error
        if len(segment) < end + 1 + header.length + 1:
            raise CorruptSegmentError(f"body of {header.id} ends before its {header.length} bytes")
        yield Entry(header, line, end + 1)
        position = end + 1 + header.length + 1


def unpack(body: bytes, *, digest: bytes, size: int) -> bytes:
    """The payload of a body, verified against its digest. Raises `CorruptSegmentError`."""
    try:
        payload = body if len(body) == size else zstandard.decompress(body, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptSegmentError(f"body does not decompress: {error}") from error
    if sha256(payload).digest() != digest:
        raise CorruptSegmentError("body does not match its SHA-256")
    return payload
