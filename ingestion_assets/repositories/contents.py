"""What depends on a file's content alone, kept by its blob: what was parsed of it, and the vectors of its text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ingestion_assets.repositories.snapshots import as_halfvec, hold
from ingestion_assets.stores.postgres import copy_rows
from ingestion_assets.stores.storable_text import storable

AT_ONCE = 500


class Content(NamedTuple):
    """A blob, read in a language."""

    blob: bytes
    language: str


_PARSED = sa.text("""
    SELECT parsed.blob, parsed.language, parsed.facts FROM unnest(CAST(:blobs AS bytea[]), CAST(:languages AS text[])) AS
        wanted (blob, language) JOIN repositories.parsed USING (blob, language) WHERE parsed.version = :version
""")
_KEEP_PARSED = sa.text("""
    INSERT INTO repositories.parsed (blob, language, version, facts) VALUES (:blob, :language, :version, :facts)
    ON CONFLICT DO NOTHING
""")
_EMBEDDED = sa.text("""
    SELECT chunks.blob, chunks.language, array_agg(chunks.number) AS numbers
    FROM unnest(CAST(:blobs AS bytea[]), CAST(:languages AS text[])) AS wanted (blob, language)
    JOIN repositories.chunks USING (blob, language) WHERE chunks.model = :model GROUP BY 1, 2
""")
_KEEP_CHUNKS = sa.text("""
    INSERT INTO repositories.chunks (blob, language, model, number, start_line, end_line, text, embedding)
    SELECT blob, language, model, number, start_line, end_line, text, embedding FROM new_chunks ON CONFLICT DO NOTHING
""")


def parsed_of(
    connection: sa.Connection, contents: Sequence[Content], *, version: str
) -> Iterable[tuple[Content, bytes]]:
    """What was parsed before, by this version of the parser."""
    for part in _parts(contents):
        for row in connection.execute(_PARSED, {**_arrays(part), "version": version}):
            yield Content(row.blob, row.language), row.facts


def keep_parsed(
    connection: sa.Connection, parsed: Mapping[Content, bytes], *, snapshot: int, version: str
) -> None:
    """Keep what was parsed of a snapshot's files. Raises `GoneError`: what nobody has is never kept."""
    hold(connection, snapshot)
    rows = [
        {"blob": content.blob, "language": content.language, "version": version, "facts": facts}
        for content, facts in parsed.items()
    ]
    if rows:
        connection.execute(_KEEP_PARSED, rows)


def embedded_numbers(
    connection: sa.Connection, contents: Sequence[Content], *, model: str
) -> dict[Content, set[int]]:
    """Which chunks of these contents have vectors of the model."""
    found: dict[Content, set[int]] = {}
    for part in _parts(contents):
        for row in connection.execute(_EMBEDDED, {**_arrays(part), "model": model}):
            found[Content(row.blob, row.language)] = set(row.numbers)
    return found


def keep_chunks(
    connection: sa.Connection, rows: Iterable[Sequence[Any]], *, snapshot: int, model: str
) -> None:
    """Keep chunks (content, number, start line, end line, text or None, vector) of a snapshot's files. Raises `GoneError`."""
    hold(connection, snapshot)
    connection.execute(sa.text("CREATE TEMPORARY TABLE new_chunks (LIKE repositories.chunks) ON COMMIT DROP"))
    columns = ("blob", "language", "model", "number", "start_line", "end_line", "text", "embedding")
    copy_rows(
        connection,
        "new_chunks",
        columns,
        (
            (*content, model, number, *lines, text if text is None else storable(text), as_halfvec(vector))
            for content, number, *lines, text, vector in rows
        ),
    )
    connection.execute(_KEEP_CHUNKS)


def _parts(contents: Sequence[Content]) -> Iterable[Sequence[Content]]:
    return (contents[start : start + AT_ONCE] for start in range(0, len(contents), AT_ONCE))


def _arrays(contents: Sequence[Content]) -> dict[str, list[Any]]:
    return {
        "blobs": [content.blob for content in contents],
        "languages": [content.language for content in contents],
    }
