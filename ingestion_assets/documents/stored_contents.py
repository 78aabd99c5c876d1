"""What is stored of files: contents by their bytes and options, their chunks, and the documents that have them.

A content is a user's: two of the user's files with the same bytes share it. It is written whole, in the transaction that ends its file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.documents.job_files import JobFile
from ingestion_assets.documents.job_options import PIPELINE

_CONFIGS = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "da": "danish", "nl": "dutch", "en": "english", "fi": "finnish",
    "fr": "french", "de": "german", "el": "greek", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian",
    "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "nb": "norwegian", "nn": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "es": "spanish", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""PostgreSQL's text-search configurations by language; else `simple`, which knows no word endings."""


@dataclass(frozen=True, slots=True)
class ContentKey:
    """What makes a content: whose it is, the SHA-256 of the bytes, the digest of the options, the model."""

    user_id: str
    sha256: bytes
    options: bytes
    model: str

    def values(self) -> dict[str, Any]:
        return {
            "user_id": self.user_id, "sha256": self.sha256, "options": self.options, "model": self.model, "pipeline": PIPELINE,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A content that is there."""

    id: int
    mime: str
    pages: int
    chunks: int


class NewChunk(msgspec.Struct, frozen=True):
    """A chunk that is to be stored."""

    number: int
    text: str
    digest: bytes
    start_at: int
    end_at: int
    tokens: int
    page_first: int
    page_last: int
    headings: tuple[str, ...]


class NewContent(msgspec.Struct, frozen=True):
    """A content that is to be stored, with its chunks."""

    mime: str
    language: str
    encoding: str | None
    quality: float
    pages: int
    text: str
    warnings: list[dict[str, Any]]
    engines: dict[str, int]
    chunks: list[NewChunk]


_SAME_DOCUMENT = """
    SELECT content.id, content.mime, content.pages, content.chunks FROM documents.documents document
    JOIN documents.contents content ON content.id = document.content_id
    WHERE document.user_id = :user_id AND document.connection_id = :connection_id AND document.file_id = :file_id
      AND document.removed_at IS NULL AND content.options = :options AND content.model = :model AND content.pipeline = :pipeline
"""
_UNCHANGED = sa.text(f"{_SAME_DOCUMENT} AND document.digest = :digest")
_SAME = sa.text(f"{_SAME_DOCUMENT} AND content.sha256 = :sha256")
_FIND = sa.text("""
    SELECT id, mime, pages, chunks FROM documents.contents
    WHERE user_id = :user_id AND sha256 = :sha256 AND options = :options AND model = :model AND pipeline = :pipeline
""")
_INSERT = sa.text("""
    INSERT INTO documents.contents (user_id, sha256, options, model, pipeline, mime, language, config, encoding, quality, pages, characters,
                                    chunks, text, warnings, engines)
    VALUES (:user_id, :sha256, :options, :model, :pipeline, :mime, :language, CAST(:config AS regconfig), :encoding, :quality, :pages,
            :characters, :chunks, :text, CAST(:warnings AS jsonb), CAST(:engines AS jsonb))
    ON CONFLICT (user_id, sha256, options, model, pipeline) DO NOTHING
    RETURNING id
""")
_REPLACE = sa.text("""
    WITH old AS (DELETE FROM documents.chunks WHERE content_id = :id)
    UPDATE documents.contents SET mime = :mime, language = :language, config = CAST(:config AS regconfig), encoding = :encoding,
        quality = :quality, pages = :pages, characters = :characters, chunks = :chunks, text = :text, warnings = CAST(:warnings AS jsonb),
        engines = CAST(:engines AS jsonb), made_at = clock_timestamp()
    WHERE id = :id
""")
_CHUNKS = sa.text("""
    INSERT INTO documents.chunks (content_id, number, text, text_digest, start_at, end_at, tokens, page_first, page_last, headings, tsv)
    SELECT :id, number, text, decode(digest, 'base64'), start_at, end_at, tokens, page_first, page_last, headings,
           to_tsvector(CAST(:config AS regconfig), array_to_string(headings, ' ') || ' ' || text)
    FROM jsonb_to_recordset(CAST(:chunks AS jsonb)) AS chunk (number int, text text, digest text, start_at int, end_at int, tokens int,
         page_first int, page_last int, headings text[])
""")
_DOCUMENT = sa.text("""
    INSERT INTO documents.documents AS known (id, user_id, connection_id, file_id, name, path, source_type, size, digest, modified,
                                              content_id, job_id)
    VALUES (:id, :user_id, :connection_id, :file_id, :name, :path, :source_type, :size, :digest, :modified, :content_id, :job_id)
    ON CONFLICT (user_id, connection_id, file_id) DO UPDATE SET name = excluded.name, path = excluded.path, size = excluded.size,
        digest = excluded.digest, modified = excluded.modified, content_id = excluded.content_id, job_id = excluded.job_id,
        stored_at = clock_timestamp(), removed_at = NULL
    RETURNING (SELECT before.content_id FROM documents.documents before WHERE before.id = known.id) AS was
""")
_DROP_UNUSED = sa.text("""
    DELETE FROM documents.contents content WHERE id = :id
      AND NOT EXISTS (SELECT FROM documents.documents WHERE content_id = content.id)
""")


KEPT_S = 7 * 24 * 3600.0
"""For so long what was removed can come back without being made anew: documents, and vectors that no chunk has."""
PURGED_AT_ONCE = 200
_PURGE_DOCUMENTS = sa.text("""
    WITH old AS (
        SELECT id FROM documents.documents WHERE removed_at < clock_timestamp() - make_interval(secs => :kept_s)
        LIMIT :most FOR UPDATE SKIP LOCKED
    ) DELETE FROM documents.documents WHERE id IN (SELECT id FROM old)
""")
_PURGE_CONTENTS = sa.text("""
    DELETE FROM documents.contents WHERE id IN (
        SELECT id FROM documents.contents content WHERE NOT EXISTS (SELECT FROM documents.documents WHERE content_id = content.id)
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")
_PURGE_VECTORS = sa.text("""
    DELETE FROM documents.vectors WHERE (text_digest, model) IN (
        SELECT text_digest, model FROM documents.vectors vector
        WHERE made_at < clock_timestamp() - make_interval(secs => :kept_s)
          AND NOT EXISTS (SELECT FROM documents.chunks WHERE chunks.text_digest = vector.text_digest)
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")


def config_of(language: str | None) -> str:
    """The text-search configuration for a language."""
    return _CONFIGS.get(language or "", "simple")


def unchanged(connection: sa.Connection, file: JobFile, key: ContentKey, digest: str) -> StoredContent | None:
    """The content of the same document, if the source says that its bytes are those that were stored; `key.sha256` is not looked at."""
    return _found(connection, _UNCHANGED, file, key, digest=digest)


def same_document(connection: sa.Connection, file: JobFile, key: ContentKey) -> StoredContent | None:
    """The content of the same document, if it is of the same bytes."""
    return _found(connection, _SAME, file, key)


def find(connection: sa.Connection, key: ContentKey) -> StoredContent | None:
    """The content, whatever document has it."""
    row = connection.execute(_FIND, key.values()).one_or_none()
    return None if row is None else StoredContent(*row)


def store(connection: sa.Connection, key: ContentKey, new: NewContent, *, replace: bool) -> StoredContent:
    """Write a content with its chunks; one that is there already stays, unless it is to be replaced."""
    values = key.values() | {
        "mime": new.mime, "language": new.language or None, "config": config_of(new.language), "encoding": new.encoding,
        "quality": new.quality, "pages": new.pages, "characters": len(new.text), "chunks": len(new.chunks), "text": new.text,
        "warnings": _json(new.warnings), "engines": _json(new.engines),
    }  # fmt: skip
    made = connection.scalar(_INSERT, values)
    if made is None:
        known = find(connection, key)
        if known is None:
            raise LookupError("a content was deleted while it was stored; the next attempt makes it again")
        if not replace:
            return known
        connection.execute(_REPLACE, {**values, "id": known.id})
        made = known.id
    connection.execute(_CHUNKS, {"id": made, "config": values["config"], "chunks": _json(new.chunks)})
    return StoredContent(made, new.mime, new.pages, len(new.chunks))


def put_document(
    connection: sa.Connection, user_id: str, file: JobFile, content: StoredContent, *, size: int | None
) -> None:
    """The document has this content from now on; the one that it had goes if nobody else has it."""
    values = {
        "id": uuid_utils.compat.uuid7(), "user_id": user_id, "connection_id": file.connection_id, "file_id": file.file_id,
        "name": file.name, "path": file.path, "source_type": file.source_type, "size": size if size is not None else file.size,
        "digest": file.digest, "modified": file.modified, "content_id": content.id, "job_id": file.job_id,
    }  # fmt: skip
    was = connection.scalar(_DOCUMENT, values)
    if was is not None and was != content.id:
        connection.execute(_DROP_UNUSED, {"id": was})


def _purge(statement: sa.TextClause, connection: sa.Connection) -> int:
    return connection.execute(statement, {"kept_s": KEPT_S, "most": PURGED_AT_ONCE}).rowcount


PURGES = tuple(partial(_purge, one) for one in (_PURGE_DOCUMENTS, _PURGE_CONTENTS, _PURGE_VECTORS))
"""In this order, each in a transaction of its own: they delete some of what was removed long ago, and give how many rows."""


def _found(
    connection: sa.Connection, query: sa.TextClause, file: JobFile, key: ContentKey, **more: Any
) -> StoredContent | None:
    values = {**key.values(), "connection_id": file.connection_id, "file_id": file.file_id, **more}
    row = connection.execute(query, values).one_or_none()
    return None if row is None else StoredContent(*row)


def _json(value: Sequence[Any] | dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
