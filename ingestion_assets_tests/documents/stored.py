"""Documents that are in the tables, as a job leaves them; without a job."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ingestion_assets.documents.vectors import embed_missing, text_digest
from ingestion_assets.embedding.models import Model, text_model
from ingestion_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Stored:
    """What `store` made."""

    document_id: str
    content_id: int


def store(
    engine: sa.Engine,
    user: str,
    file_id: str,
    chunks: Sequence[str],
    *,
    overlap: int = 0,
    connection_id: str = "conn_1",
    job_id: str = "job_1",
    config: str = "english",
    language: str = "en",
    mime: str = "text/plain",
    model: Model | None = None,
    embedded: bool = True,
) -> Stored:
    """A document of these chunks; each begins `overlap` characters before the end of the one before."""
    model = model or text_model(None, Settings())
    if embedded:
        embed_missing(engine, model, chunks)
    text, spans = "", []
    for chunk in chunks:
        start = max(0, len(text) - overlap) if spans else 0
        assert text[start:] == chunk[: len(text) - start], "the chunks do not overlap so"
        text += chunk[len(text) - start :]
        spans.append((start, start + len(chunk)))
    with engine.begin() as connection:
        content = connection.scalar(
            sa.text("""
                INSERT INTO documents.contents (user_id, sha256, options, model, pipeline, mime, language, config, quality,
                    pages, characters, chunks, text)
                VALUES (:user, :sha256, '', :model, '1', :mime, :language, CAST(:config AS regconfig), 1, 1, :characters, :chunks, :text)
                ON CONFLICT (user_id, sha256, options, model, pipeline) DO UPDATE SET text = excluded.text RETURNING id
            """),
            {
                "user": user, "sha256": hashlib.sha256(text.encode()).digest(), "model": model.id, "mime": mime,
                "language": language, "config": config, "characters": len(text), "chunks": len(chunks), "text": text,
            },
        )  # fmt: skip
        assert content is not None
        connection.execute(
            sa.text("""
                INSERT INTO documents.chunks (content_id, number, text, text_digest, start_at, end_at, tokens, page_first, page_last, headings, tsv)
                VALUES (:content, :number, :text, :digest, :start, :end, 1, :page, :page, :headings, to_tsvector(CAST(:config AS regconfig), :text))
                ON CONFLICT DO NOTHING
            """),
            [
                {
                    "content": content, "number": number, "text": chunk, "digest": text_digest(chunk), "start": start,
                    "end": end, "page": number + 1, "headings": ["Heading", f"Part {number}"], "config": config,
                }
                for number, (chunk, (start, end)) in enumerate(zip(chunks, spans, strict=True))
            ],
        )  # fmt: skip
        document = connection.scalar(
            sa.text("""
                INSERT INTO documents.documents (id, user_id, connection_id, file_id, name, path, source_type, content_id, job_id)
                VALUES (:id, :user, :connection, :file, :name, :file, 'local_directory', :content, :job)
                ON CONFLICT (user_id, connection_id, file_id) DO UPDATE SET content_id = excluded.content_id RETURNING id::text
            """),
            {
                "id": uuid.uuid4(), "user": user, "connection": connection_id, "file": file_id,
                "name": file_id.rpartition("/")[2], "content": content, "job": job_id,
            },
        )  # fmt: skip
    return Stored(str(document), content)
