"""What was found, as it is shown: the passage, its file and page, and why it is a hit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ingestion_assets.documents.wanted_documents import Wanted, over, values_of


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage: the best of its chunks, and those beside it that were found too and overlap."""

    content_id: int
    numbers: tuple[int, ...]
    score: float
    vector_rank: int | None = None
    text_rank: int | None = None
    cosine: float | None = None


_PASSAGES = """
    WITH passage AS (
        SELECT place, content_id, numbers FROM ROWS FROM (
            unnest(CAST(:contents AS bigint[])), jsonb_array_elements(CAST(:numbers AS jsonb))
        ) WITH ORDINALITY AS passage (content_id, numbers, place)
    ), piece AS (
        SELECT passage.place, passage.content_id, min(chunk.start_at) AS start_at, max(chunk.end_at) AS end_at,
               min(chunk.page_first) AS page_first, max(chunk.page_last) AS page_last, count(*) AS chunks,
               (array_agg(chunk.text ORDER BY chunk.number))[1] AS text,
               (array_agg(to_json(chunk.headings) ORDER BY chunk.number))[1] AS headings
        FROM passage JOIN documents.chunks chunk ON chunk.content_id = passage.content_id
          AND chunk.number IN (SELECT jsonb_array_elements_text(passage.numbers)::int)
        GROUP BY passage.place, passage.content_id
    )
    SELECT piece.place, piece.start_at, piece.end_at, piece.page_first, piece.page_last, piece.headings,
           CASE WHEN piece.chunks = 1 THEN piece.text
                ELSE substr(content.text, piece.start_at + 1, piece.end_at - piece.start_at) END AS text,
           content.mime, content.language, content.model, document.*
    FROM piece JOIN documents.contents content ON content.id = piece.content_id
    CROSS JOIN LATERAL (
        SELECT document.id::text AS document_id, document.connection_id, document.source_type, document.file_id,
               document.name, document.path, count(*) OVER () - 1 AS copies
        FROM documents.documents document WHERE document.content_id = content.id AND
"""
_PASSAGES_REST = "ORDER BY document.stored_at, document.id LIMIT 1) document ORDER BY piece.place"


def passages(connection: sa.Connection, wanted: Wanted, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """The hits in their order; those whose document went meanwhile are left out."""
    if not hits:
        return []
    values = {
        **values_of(wanted),
        "contents": [hit.content_id for hit in hits],
        "numbers": [list(hit.numbers) for hit in hits],
    }
    statement = over(_PASSAGES, wanted, _PASSAGES_REST).bindparams(sa.bindparam("numbers", type_=sa.JSON))
    return [_item(hits[row.place - 1], row) for row in connection.execute(statement, values)]


def _item(hit: Hit, row: sa.Row[Any]) -> dict[str, Any]:
    file = ("document_id", "connection_id", "source_type", "file_id", "name", "path", "mime", "language")
    return {
        "text": row.text,
        "score": round(hit.score, 6),
        "file": {**{name: getattr(row, name) for name in file}, "copies": row.copies},
        "page": row.page_first,
        "page_last": row.page_last,
        "headings": row.headings,
        "start": row.start_at,
        "end": row.end_at,
        "chunk_id": f"{hit.content_id}:{hit.numbers[0]}",
        "chunk_ids": [f"{hit.content_id}:{number}" for number in hit.numbers],
        "why": {"vector_rank": hit.vector_rank, "text_rank": hit.text_rank, "cosine": hit.cosine},
    }
