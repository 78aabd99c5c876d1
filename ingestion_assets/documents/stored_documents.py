"""The documents that a user has: listed, read with their text and chunks, deleted."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.documents.vectors import drop_unused
from ingestion_assets.documents.wanted_documents import Wanted, over, values_of

_FACTS = """
    document.id::text AS document_id, document.connection_id, document.source_type, document.file_id, document.name, document.path,
    document.job_id, document.size, content.mime, content.language, content.encoding, round(content.quality::numeric, 3)::float8 AS quality,
    content.pages, content.characters, content.chunks, content.model, encode(content.sha256, 'hex') AS sha256, document.stored_at
"""
_LIST = f"""
    SELECT {_FACTS} FROM documents.documents document
    JOIN documents.contents content ON content.id = document.content_id WHERE
"""
_LIST_REST = """
    AND (CAST(:after_id AS uuid) IS NULL OR (document.path, document.id) > (:after_path, CAST(:after_id AS uuid)))
    ORDER BY document.path, document.id LIMIT :limit
"""
_ONE = f"""
    SELECT {_FACTS}, content.text, content.warnings, content.engines, content.id AS content_id FROM documents.documents document
    JOIN documents.contents content ON content.id = document.content_id WHERE
"""
_CHUNKS = sa.text("""
    SELECT content_id || ':' || number AS chunk_id, start_at AS start, end_at AS end, tokens, page_first AS page, page_last, headings
    FROM documents.chunks WHERE content_id = :content ORDER BY number
""")
_FORGET = sa.text("""
    DELETE FROM documents.documents WHERE id = CAST(:document_id AS uuid) AND user_id = :user_id RETURNING content_id
""")
# Whoever is about to give it another document holds the row until then, or waits here and finds it gone.
_HOLD = sa.text("SELECT FROM documents.contents WHERE id = :content FOR UPDATE")
_DIGESTS = sa.text("""
    SELECT DISTINCT text_digest FROM documents.chunks WHERE content_id = :content
    AND NOT EXISTS (SELECT FROM documents.documents WHERE content_id = :content)
""")
_DROP = sa.text("""
    DELETE FROM documents.contents content WHERE id = :content
    AND NOT EXISTS (SELECT FROM documents.documents WHERE content_id = content.id)
""")


def documents(
    connection: sa.Connection, wanted: Wanted, *, after: tuple[UUID, str] | None, limit: int
) -> list[dict[str, Any]]:
    """A user's documents by path and id, those after one with this id and path."""
    after_id, after_path = after or (None, None)
    place = {"after_id": after_id, "after_path": after_path, "limit": limit}
    rows = connection.execute(over(_LIST, wanted, _LIST_REST), {**values_of(wanted), **place})
    return [dict(row) for row in rows.mappings()]


def position_of(found: Mapping[str, Any]) -> tuple[UUID, str]:
    """Where a document stands in the list."""
    return UUID(found["document_id"]), found["path"]


def document(connection: sa.Connection, wanted: Wanted) -> dict[str, Any] | None:
    """A document with its text, warnings and chunks; None where the user has none such."""
    row = connection.execute(over(_ONE, wanted), values_of(wanted)).mappings().one_or_none()
    if row is None:
        return None
    facts = dict(row)
    chunks = connection.execute(_CHUNKS, {"content": facts.pop("content_id")}).mappings()
    return {**facts, "chunk_list": [dict(chunk) for chunk in chunks]}


def delete_document(connection: sa.Connection, user_id: str, document_id: str) -> bool:
    """Delete a document with all that nobody else has of it: content, chunks, vectors. False where the user has none such."""
    content = connection.scalar(_FORGET, {"document_id": document_id, "user_id": user_id})
    if content is None:
        return False
    connection.execute(_HOLD, {"content": content})
    digests = list(connection.scalars(_DIGESTS, {"content": content}))
    connection.execute(_DROP, {"content": content})
    if digests:
        drop_unused(connection, digests)
    return True
