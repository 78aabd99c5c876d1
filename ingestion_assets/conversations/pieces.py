"""The messages of landed batches one by one, and in chunks that are worked on together."""

from collections.abc import Callable, Iterable, Iterator

from ingestion_assets.conversations.batches import BatchOutcome
from ingestion_assets.conversations.parts import parts_of
from ingestion_assets.conversations.schema import decode_body
from ingestion_assets.landing.drop_outcomes import RecordOutcome
from ingestion_assets.landing.drops import LandedDrop

CHUNK_RECORDS = 1000
FIRST_CHUNK_RECORDS = 256  # the server gets to work early, then chunks grow
CHUNK_BYTES = 8 * 2**20

Piece = tuple[BatchOutcome, int, bytes, str | None]


def pieces_of(drops: Iterable[LandedDrop], opened: Callable[[BatchOutcome], None]) -> Iterator[Piece]:
    for drop in drops:
        redriven = "redrive_of" in drop.attributes  # put together from records, wherever those came in
        envelope = decode_body(drop.body, endpoint=None if redriven else drop.attributes.get("endpoint"))
        unknown = RecordOutcome("rejected")
        batch = BatchOutcome(drop, [unknown] * len(envelope.messages), parts_of(drop, envelope))
        for part in batch.parts.unstorable:
            batch.rejects.append(part.reject)
            batch.errors.append({"part": part.name, "code": part.reject.code, "reason": part.reject.reason})
        opened(batch)
        for code in envelope.warnings if envelope.messages else ():
            batch.warnings.append({"index": 0, "uuid": None, "code": code, "count": 1})
        session = envelope.sessionId or drop.attributes.get("sessionId")
        for position, raw in enumerate(envelope.messages):
            yield batch, position, bytes(raw), session


def chunked(pieces: Iterable[Piece], most_records: int) -> Iterator[list[Piece]]:
    chunk: list[Piece] = []
    size = 0
    limit = min(FIRST_CHUNK_RECORDS, most_records)
    for piece in pieces:
        if chunk and (len(chunk) >= limit or size + len(piece[2]) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
            limit = min(limit * 2, most_records)
        chunk.append(piece)
        size += len(piece[2])
    if chunk:
        yield chunk
