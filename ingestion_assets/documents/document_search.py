"""What a user's documents say about a question: by vectors, by words, or by both fused; of the user's own documents alone.

Few chunks are compared one by one, which is exact; many by the index of their model, which goes on until enough of what it finds is the
user's. Words are taken with the text-search configurations of the languages that the user's documents are in. Any of them counts, but where a
user has many chunks the commonest are not looked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa

from ingestion_assets.documents.passages import Hit, passages
from ingestion_assets.documents.wanted_documents import Wanted, over, values_of

FUSION = 60  # the constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)
CANDIDATES = 50  # of each list
RANKED = 2_000  # chunks: a question's words count from the rarest on until about so many have one; ranking is what costs
EXACT_UP_TO = 10_000  # chunks
MODELS = 4  # whose vectors are looked at, of those that most chunks have
FOLDED = 3  # chunks of one hit
Mode = Literal["hybrid", "vector", "text"]


@dataclass(frozen=True, slots=True)
class Searched:
    """What there is to search: chunks by model, and the text-search configurations of their languages."""

    chunks: Mapping[str, int]
    configurations: Sequence[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question's vector, as PostgreSQL reads it, by the model that made it."""

    model_id: str
    vector: str
    width: int


_THERE_IS = """
    SELECT content.model, content.config::text AS config, sum(content.chunks)::bigint AS chunks
    FROM (SELECT DISTINCT content.id, content.model, content.config, content.chunks
          FROM documents.documents document JOIN documents.contents content ON content.id = document.content_id
          WHERE
"""


def there_is(connection: sa.Connection, wanted: Wanted) -> Searched:
    """What the documents of the user that are wanted hold."""
    rows = connection.execute(over(_THERE_IS, wanted, ") content GROUP BY 1, 2"), values_of(wanted)).all()
    chunks: dict[str, int] = {}
    for row in rows:
        chunks[row.model] = chunks.get(row.model, 0) + row.chunks
    ordered = sorted(chunks.items(), key=lambda one: -one[1])
    return Searched(dict(ordered[:MODELS]), sorted({row.config for row in rows}))


_EXACT = """
    WITH mine AS MATERIALIZED (
        SELECT DISTINCT content.id FROM documents.documents document
        JOIN documents.contents content ON content.id = document.content_id
        WHERE content.model = :model AND
"""
_EXACT_REST = """
    )
    SELECT chunk.content_id, chunk.number, vector.embedding <=> CAST(:vector AS halfvec) AS distance
    FROM mine JOIN documents.chunks chunk ON chunk.content_id = mine.id
    JOIN documents.vectors vector ON vector.text_digest = chunk.text_digest AND vector.model = :model
    ORDER BY distance, chunk.content_id, chunk.number LIMIT :limit
"""
_NEAREST = """
    SELECT chunk.content_id, chunk.number, vector.embedding::halfvec({width}) <=> CAST(:vector AS halfvec({width})) AS distance
    FROM documents.vectors vector JOIN documents.chunks chunk ON chunk.text_digest = vector.text_digest
    JOIN documents.contents content ON content.id = chunk.content_id AND content.model = vector.model
    WHERE vector.model = :model AND EXISTS (
        SELECT FROM documents.documents document WHERE document.content_id = content.id AND
"""
_NEAREST_REST = (
    ") ORDER BY vector.embedding::halfvec({width}) <=> CAST(:vector AS halfvec({width})) LIMIT :limit"
)
_SCAN = (
    sa.text("SET LOCAL hnsw.ef_search = 100"),
    sa.text("SET LOCAL hnsw.iterative_scan = strict_order"),
)


def by_vector(
    connection: sa.Connection,
    wanted: Wanted,
    searched: Searched,
    asked: Asked,
    *,
    limit: int,
    exact_up_to: int = EXACT_UP_TO,
) -> list[Hit]:
    """The chunks that are the nearest to the question, those of one model; up to so many all are compared."""
    values = {**values_of(wanted), "model": asked.model_id, "vector": asked.vector, "limit": limit}
    if searched.chunks.get(asked.model_id, 0) <= exact_up_to:
        statement = over(_EXACT, wanted, _EXACT_REST)
    else:
        for setting in _SCAN:
            connection.execute(setting)
        before, after = (part.format(width=int(asked.width)) for part in (_NEAREST, _NEAREST_REST))
        statement = over(before, wanted, after)
    return [
        Hit(row.content_id, (row.number,), 0.0, vector_rank=rank, cosine=round(1 - row.distance, 4))
        for rank, row in enumerate(connection.execute(statement, values), start=1)
    ]


_QUERY = sa.text("""
    WITH common AS (
        SELECT lexeme, share * :chunks AS chunks
        FROM pg_stats, unnest(CAST(most_common_elems::text AS text[]), most_common_elem_freqs) AS one (lexeme, share)
        WHERE schemaname = 'documents' AND tablename = 'chunks' AND attname = 'tsv' AND lexeme IS NOT NULL
    ), word AS (
        SELECT DISTINCT unnest(tsvector_to_array(to_tsvector(config::regconfig, :question))) AS lexeme
        FROM unnest(CAST(:configurations AS text[])) config
    ), counted AS (
        SELECT quote_literal(lexeme) AS lexeme, coalesce(chunks, 0) AS chunks,
               sum(coalesce(chunks, 0)) OVER (ORDER BY coalesce(chunks, 0), lexeme) AS with_rarer
        FROM word LEFT JOIN common USING (lexeme)
    )
    SELECT string_agg(lexeme, ' | '), string_agg(lexeme, ' | ') FILTER (WHERE with_rarer - chunks < :ranked) FROM counted
""")
_BY_TEXT = """
    SELECT chunk.content_id, chunk.number FROM documents.chunks chunk
    JOIN documents.contents content ON content.id = chunk.content_id
    WHERE chunk.tsv @@ CAST(:rare AS tsquery) AND EXISTS (
        SELECT FROM documents.documents document WHERE document.content_id = content.id AND
"""
_BY_TEXT_REST = """
    ) ORDER BY ts_rank_cd(chunk.tsv, CAST(:query AS tsquery)) DESC, chunk.content_id, chunk.number LIMIT :limit
"""


def by_text(
    connection: sa.Connection,
    wanted: Wanted,
    searched: Searched,
    question: str,
    *,
    limit: int,
    ranked: int = RANKED,
) -> list[Hit]:
    """The chunks with most of the question's words, the nearest together.

    How common a word is among all users' chunks stands for the user's own, whose number decides whether any word is left out.
    """
    values = {
        "question": question, "configurations": list(searched.configurations),
        "chunks": sum(searched.chunks.values()), "ranked": ranked,
    }  # fmt: skip
    query, rare = connection.execute(_QUERY, values).one()
    if not query:
        return []
    statement = over(_BY_TEXT, wanted, _BY_TEXT_REST)
    rows = connection.execute(statement, {**values_of(wanted), "query": query, "rare": rare, "limit": limit})
    return [Hit(row.content_id, (row.number,), 0.0, text_rank=rank) for rank, row in enumerate(rows, start=1)]


def fused(lists: Iterable[Sequence[Hit]]) -> list[Hit]:
    """Several lists as one, by reciprocal rank; best first."""
    found: dict[tuple[int, tuple[int, ...]], Hit] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            key = hit.content_id, hit.numbers
            other = found.get(key, hit)
            found[key] = Hit(
                *key,
                other.score + 1 / (FUSION + rank),
                vector_rank=other.vector_rank or hit.vector_rank,
                text_rank=other.text_rank or hit.text_rank,
                cosine=hit.cosine if other.cosine is None else other.cosine,
            )
    return sorted(found.values(), key=lambda hit: (-hit.score, hit.content_id, hit.numbers))


def folded(hits: Sequence[Hit], spans: Mapping[tuple[int, int], tuple[int, int]], *, limit: int) -> list[Hit]:
    """Chunks that overlap as one passage, at the place of the best of them. `spans`: of a chunk in its content's text."""
    passages: list[Hit] = []
    for hit in hits:
        (number,) = hit.numbers
        for place, passage in enumerate(passages):
            if len(passage.numbers) < FOLDED and _touch(passage, hit, spans):
                passages[place] = replace(passage, numbers=tuple(sorted((*passage.numbers, number))))
                break
        else:
            passages.append(hit)
    return passages[:limit]


def _touch(passage: Hit, hit: Hit, spans: Mapping[tuple[int, int], tuple[int, int]]) -> bool:
    if passage.content_id != hit.content_id:
        return False
    start, end = spans[hit.content_id, hit.numbers[0]]
    known = [spans[passage.content_id, number] for number in passage.numbers]
    return any(start < its_end and its_start < end for its_start, its_end in known)


_SPANS = sa.text("""
    SELECT chunk.content_id, chunk.number, chunk.start_at, chunk.end_at FROM documents.chunks chunk
    JOIN unnest(CAST(:contents AS bigint[]), CAST(:numbers AS int[])) AS wanted (content_id, number)
      ON wanted.content_id = chunk.content_id AND wanted.number = chunk.number
""")


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of a search, and by what they were found."""

    items: Sequence[dict[str, Any]]
    by: Sequence[str] = field(default_factory=tuple)


def search(
    connection: sa.Connection,
    wanted: Wanted,
    searched: Searched,
    question: str,
    asked: Sequence[Asked],
    *,
    mode: Mode,
    limit: int,
    fold: bool,
    words: Sequence[Hit] | None = None,
) -> Found:
    """The passages that answer a question best. `asked`: its vectors, of those models that made one; `words`: what `by_text` found, if it
    was asked before."""
    lists: list[Sequence[Hit]] = []
    by: list[str] = []
    if mode != "text" and asked:
        by.append("vector")
        lists += [by_vector(connection, wanted, searched, one, limit=CANDIDATES) for one in asked]
    if mode != "vector":
        by.append("text")
        if words is None:
            words = by_text(connection, wanted, searched, question, limit=CANDIDATES)
        lists.append(words)
    hits = fused(lists)
    if fold and hits:
        chosen = {
            "contents": [hit.content_id for hit in hits],
            "numbers": [hit.numbers[0] for hit in hits],
        }
        rows = connection.execute(_SPANS, chosen)
        spans = {(row.content_id, row.number): (row.start_at, row.end_at) for row in rows}
        hits = folded([hit for hit in hits if (hit.content_id, hit.numbers[0]) in spans], spans, limit=limit)
    hits = hits[:limit]
    return Found(passages(connection, wanted, hits), by)
