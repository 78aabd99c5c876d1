"""Vectors by the digest of their text and the id of their model: no text is embedded twice, whichever file, job or user it comes from.

They are kept batch by batch as they come, before the file that wants them is stored: a kill costs the batch in hand. Whoever stores
chunks pins their vectors in the same transaction, so that no deletion takes them away in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ingestion_assets.embedding import asking
from ingestion_assets.embedding.models import Model

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 256

_KNOWN = sa.text(
    "SELECT text_digest FROM documents.vectors WHERE model = :model AND text_digest = ANY(:digests)"
)
_KEEP = sa.text("""
    INSERT INTO documents.vectors (text_digest, model, embedding)
    SELECT new.digest, :model, new.embedding::halfvec
    FROM unnest(CAST(:digests AS bytea[]), CAST(:vectors AS text[])) AS new (digest, embedding) ORDER BY new.digest
    ON CONFLICT DO NOTHING
""")
_PIN = sa.text("""
    SELECT text_digest FROM documents.vectors WHERE model = :model AND text_digest = ANY(:digests)
    ORDER BY text_digest FOR KEY SHARE
""")
_LOCK = sa.text(
    "SELECT FROM documents.vectors WHERE text_digest = ANY(:digests) ORDER BY text_digest, model FOR UPDATE"
)
_DROP_UNUSED = sa.text("""
    DELETE FROM documents.vectors unused WHERE text_digest = ANY(:digests) AND NOT EXISTS (
        SELECT FROM documents.chunks chunk JOIN documents.contents content ON content.id = chunk.content_id
        WHERE chunk.text_digest = unused.text_digest AND content.model = unused.model)
""")
_INDEXED = sa.text("SELECT to_regclass('documents.' || quote_ident(:name)) IS NOT NULL")
_LOCK_INDEX = sa.text("SELECT pg_advisory_xact_lock(hashtext('documents.vectors.index'))")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts that a model was asked for, and those whose vectors were known."""

    embedded: int
    reused: int


def text_digest(text: str) -> bytes:
    """What a text is known by."""
    return hashlib.sha256(text.encode(errors="replace")).digest()


def embed_missing(
    engine: sa.Engine,
    model: Model,
    texts: Sequence[str],
    *,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Embedded:
    """Leave a vector of this model for each text. `progress` takes how many of the missing ones are done, and of how many.

    Raises `embedding.errors.EmbeddingUnavailableError`, `EmbeddingRejectedError`, `StoppedError`.
    """
    by_digest = {text_digest(text): text for text in texts}
    with engine.connect() as connection:
        known = set(connection.scalars(_KNOWN, {"model": model.id, "digests": [*by_digest]}))
    missing = sorted(by_digest.keys() - known)
    for start in range(0, len(missing), AT_ONCE):
        digests = missing[start : start + AT_ONCE]
        found = asking.embed(engine, model, [by_digest[digest] for digest in digests], stopped=stopped)
        index_for(engine, model.id, found.shape[1])
        with engine.begin() as connection:
            values = {"model": model.id, "digests": digests, "vectors": [literal(vector) for vector in found]}
            connection.execute(_KEEP, values)
        progress(start + len(digests), len(missing))
    return Embedded(len(missing), len(texts) - len(missing))


def unpinned(connection: sa.Connection, model_id: str, digests: Collection[bytes]) -> set[bytes]:
    """Hold the vectors of these texts until the transaction ends; gives the texts that have none (any more)."""
    wanted = set(digests)
    return wanted - set(connection.scalars(_PIN, {"model": model_id, "digests": sorted(wanted)}))


def drop_unused(connection: sa.Connection, digests: Collection[bytes]) -> int:
    """Delete the vectors of these texts that no chunk has any more; gives how many."""
    values = {"digests": sorted(set(digests))}
    # Two statements: the second sees what was committed by those that the first waited for.
    connection.execute(_LOCK, values)
    return connection.execute(_DROP_UNUSED, values).rowcount


def literal(vector: np.ndarray) -> str:
    """A vector as PostgreSQL reads it."""
    import numpy as np  # noqa: PLC0415

    return f"[{','.join(map(repr, vector.astype(np.float16).tolist()))}]"


_indexed: set[tuple[sa.URL, str]] = set()


def index_for(engine: sa.Engine, model_id: str, width: int) -> None:
    """Make the index of this model's vectors, unless it is there."""
    key = engine.url, model_id
    if key in _indexed:
        return
    name = f"vectors_{hashlib.sha256(model_id.encode()).hexdigest()[:16]}"
    with engine.begin() as connection:
        connection.execute(_LOCK_INDEX)
        if not connection.scalar(_INDEXED, {"name": name}):
            quoted = str(sa.literal(model_id).compile(connection, compile_kwargs={"literal_binds": True}))
            connection.execute(
                sa.DDL(
                    "CREATE INDEX %(name)s ON documents.vectors USING hnsw ((embedding::halfvec(%(width)s)) halfvec_cosine_ops) "
                    "WHERE model = %(model)s",
                    context={"name": name, "width": int(width), "model": quoted},
                )
            )
    _indexed.add(key)
