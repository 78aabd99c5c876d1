"""Whether what is stored agrees with itself, and mending what does not: counts, chunks, spans, vectors, and what nobody has any more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ingestion_assets.documents import stored_contents
from ingestion_assets.documents.vectors import embed_missing
from ingestion_assets.embedding.errors import EmbeddingError
from ingestion_assets.embedding.models import text_model
from ingestion_assets.settings import Settings

LISTED = 20
YOUNG_S = stored_contents.KEPT_S + 24 * 3600
"""Vectors that no chunk has are kept for a while, as what is removed may come back."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: what should be, and which rows are not so (`contents` bounds it to some contents)."""

    says: str
    query: sa.TextClause
    mend: sa.TextClause | None = None


_OF = "(CAST(:contents AS bigint[]) IS NULL OR content.id = ANY(:contents))"
_COUNTED = """
    SELECT job_id, sum(progress) AS progress, count(*) AS files, count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'skipped') AS skipped
    FROM documents.files GROUP BY job_id
"""
_WRONG_CONTENTS = f"""
    SELECT content.id FROM documents.contents content
    LEFT JOIN documents.chunks chunk ON chunk.content_id = content.id
    WHERE {_OF} GROUP BY content.id
    HAVING count(chunk.content_id) <> content.chunks
        OR bool_or(chunk.end_at <= chunk.start_at OR right(chunk.text, chunk.end_at - chunk.start_at)
                   <> substr(content.text, chunk.start_at + 1, chunk.end_at - chunk.start_at))
"""
_UNUSED_CONTENTS = f"""
    SELECT content.id FROM documents.contents content
    WHERE {_OF} AND NOT EXISTS (SELECT FROM documents.documents WHERE content_id = content.id)
"""
_UNUSED_VECTORS = """
    SELECT vector.text_digest, vector.model FROM documents.vectors vector
    WHERE CAST(:contents AS bigint[]) IS NULL AND vector.made_at < clock_timestamp() - make_interval(secs => :young_s)
      AND NOT EXISTS (SELECT FROM documents.chunks chunk JOIN documents.contents content ON content.id = chunk.content_id
                      WHERE chunk.text_digest = vector.text_digest AND content.model = vector.model)
"""
FAULTS: Mapping[str, Fault] = {
    "accounting": Fault(
        "A job's counts are those of its files.",
        sa.text(f"""
            SELECT job.id FROM documents.jobs job LEFT JOIN ({_COUNTED}) counted ON counted.job_id = job.id
            WHERE CAST(:contents AS bigint[]) IS NULL
              AND (job.total_files, job.progress, job.completed_files, job.failed_files, job.skipped_files) IS DISTINCT FROM
                  (counted.files, counted.progress, counted.completed, counted.failed, counted.skipped)
        """),
        sa.text(f"""
            UPDATE documents.jobs job SET total_files = counted.files, progress = counted.progress, completed_files = counted.completed,
                failed_files = counted.failed, skipped_files = counted.skipped
            FROM ({_COUNTED}) counted WHERE counted.job_id = job.id
              AND (job.total_files, job.progress, job.completed_files, job.failed_files, job.skipped_files) IS DISTINCT FROM
                  (counted.files, counted.progress, counted.completed, counted.failed, counted.skipped)
        """),
    ),
    "every_chunk_has_a_vector": Fault(
        "Every chunk has a vector of its content's model.",
        sa.text(f"""
            SELECT chunk.content_id, chunk.number FROM documents.chunks chunk JOIN documents.contents content ON content.id = chunk.content_id
            WHERE {_OF} AND NOT EXISTS (SELECT FROM documents.vectors vector
                WHERE vector.text_digest = chunk.text_digest AND vector.model = content.model)
        """),
    ),
    "chunks_match_their_text": Fault(
        "A content has all of its chunks, and each is the text at its span.",
        sa.text(_WRONG_CONTENTS),
        # The next job or sync stores them anew.
        sa.text(f"""
            WITH wrong AS ({_WRONG_CONTENTS}), gone AS (DELETE FROM documents.documents WHERE content_id IN (SELECT id FROM wrong))
            SELECT count(*) FROM wrong
        """),
    ),
    "no_orphans": Fault(
        "Every content is of a document, every vector of a chunk.",
        sa.text(f"""
            SELECT 'content' AS kind, id::text FROM ({_UNUSED_CONTENTS}) content
            UNION ALL SELECT 'vector', encode(text_digest, 'hex') FROM ({_UNUSED_VECTORS}) vector
        """),
        sa.text(f"""
            WITH contents AS (DELETE FROM documents.contents WHERE id IN ({_UNUSED_CONTENTS}))
            DELETE FROM documents.vectors WHERE (text_digest, model) IN ({_UNUSED_VECTORS})
        """),
    ),
}  # fmt: skip
WINDOW = "no_chunk_beyond_the_window"
WINDOW_SAYS = "No chunk has more tokens than its model reads."
_LONGEST = sa.text(f"""
    SELECT content.model, max(chunk.tokens) AS tokens FROM documents.contents content
    JOIN documents.chunks chunk ON chunk.content_id = content.id WHERE {_OF} GROUP BY content.model
""")
_LACKING = sa.text("""
    SELECT DISTINCT content.model, chunk.text FROM documents.chunks chunk JOIN documents.contents content ON content.id = chunk.content_id
    WHERE NOT EXISTS (SELECT FROM documents.vectors vector WHERE vector.text_digest = chunk.text_digest AND vector.model = content.model)
""")


def faults(
    connection: sa.Connection, settings: Settings, *, contents: Sequence[int] | None = None
) -> dict[str, list[str]]:
    """What is wrong, by kind, some of each; of all that is stored, or of these contents."""
    values = {"contents": None if contents is None else list(contents), "young_s": YOUNG_S}
    found = {name: _listed(connection, fault.query, values) for name, fault in FAULTS.items()}
    found[WINDOW] = [
        f"{row.model}: {row.tokens} tokens"
        for row in connection.execute(_LONGEST, values)
        if (window := window_of(row.model, settings)) is not None and row.tokens > window
    ]
    return found


def mend(
    engine: sa.Engine, settings: Settings, *, say: Callable[[str], object] = lambda _: None
) -> dict[str, list[str]]:
    """Mend what can be: counts anew, missing vectors made, what nobody has deleted, contents that are wrong removed, so that the next job
    stores them. Gives what is still wrong."""
    values = {"contents": None, "young_s": YOUNG_S}
    with engine.begin() as connection:
        lacking = connection.execute(_LACKING).all()
    for model_id in {row.model for row in lacking}:
        texts = [row.text for row in lacking if row.model == model_id]
        try:
            model = text_model(model_id.rpartition("@")[0], settings)
        except EmbeddingError as error:
            say(f"{len(texts)} chunks of {model_id} have no vector: {error}")
            continue
        if model.id == model_id:
            embed_missing(engine, model, texts)
            say(f"{len(texts)} vectors of {model_id} made")
    for name, fault in FAULTS.items():
        if fault.mend is not None:
            with engine.begin() as connection:
                if wrong := _listed(connection, fault.query, values):
                    connection.execute(fault.mend, values)
                    say(f"{name}: {len(wrong)} mended")
    with engine.connect() as connection:
        return faults(connection, settings)


def window_of(model_id: str, settings: Settings) -> int | None:
    """Tokens that a model reads; None for one that is not there any more."""
    try:
        model = text_model(model_id.rpartition("@")[0], settings)
    except EmbeddingError:
        return None
    return model.window_tokens


def _listed(connection: sa.Connection, query: sa.TextClause, values: Mapping[str, Any]) -> list[str]:
    rows = connection.execute(sa.text(f"{query.text} LIMIT {LISTED}"), values)
    return [" ".join(map(str, row)) for row in rows]
