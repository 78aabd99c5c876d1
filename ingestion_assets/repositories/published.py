"""What readers see: the published snapshot of each repository, never one that is being built."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ingestion_assets.repositories.paths import restored, shown

_REPOSITORIES = sa.text("""
    SELECT repository.partition AS repository, repository.ref, repository.watched, snapshot.commit, snapshot.branch,
           snapshot.published_at AS indexed_at, snapshot.text_model, snapshot.structure_model,
           (snapshot.facts ->> 'files')::int AS files, (snapshot.facts ->> 'embedded')::int AS embedded,
           (snapshot.facts ->> 'skipped')::int AS skipped, snapshot.facts -> 'languages' AS languages,
           snapshot.facts -> 'reasons' AS reasons, snapshot.facts -> 'edges' AS edges,
           snapshot.facts -> 'unresolved' AS unresolved, (snapshot.facts ->> 'held_out_auc')::float8 AS held_out_auc
    FROM repositories.repositories repository JOIN repositories.snapshots snapshot ON snapshot.id = repository.snapshot_id
    WHERE repository.partition > :after ORDER BY repository.partition LIMIT :limit
""")
_FILES = sa.text("""
    SELECT file.path, file.path AS stored_path, file.state, file.reason, file.measure, file.language, file.size, encode(file.blob, 'hex') AS blob
    FROM repositories.repositories repository JOIN repositories.files file ON file.snapshot_id = repository.snapshot_id
    WHERE repository.partition = :partition AND file.path > :after
      AND (CAST(:state AS text) IS NULL OR file.state = :state)
      AND (CAST(:reason AS text) IS NULL OR file.reason = :reason)
    ORDER BY file.path LIMIT :limit
""")
_KNOWN = sa.text(
    "SELECT snapshot_id FROM repositories.repositories WHERE partition = :partition AND snapshot_id IS NOT NULL"
)
_FILE = sa.text("""
    SELECT file.path, file.state, file.reason FROM repositories.files file
    WHERE file.snapshot_id = :snapshot AND file.path = :path
""")
# What two files have in common: links between them, what both use, and, where they are of different repositories, symbols.
_SIMILAR = sa.text("""
    WITH asked AS MATERIALIZED (
        SELECT file.snapshot_id, file.path, file.stable, snapshot.structure_model
        FROM repositories.files file JOIN repositories.snapshots snapshot ON snapshot.id = file.snapshot_id
        WHERE file.snapshot_id = :snapshot AND file.path = :path
    ), nearest AS MATERIALIZED (
        SELECT file.snapshot_id, file.path, file.language, 1 - (file.stable <=> asked.stable) AS score
        FROM asked
        JOIN repositories.snapshots snapshot ON snapshot.structure_model = asked.structure_model
        JOIN repositories.repositories repository ON repository.snapshot_id = snapshot.id
        JOIN repositories.files file ON file.snapshot_id = snapshot.id
        WHERE file.stable IS NOT NULL AND (:everywhere OR file.snapshot_id = asked.snapshot_id)
          AND (file.snapshot_id, file.path) <> (asked.snapshot_id, asked.path)
        ORDER BY file.stable <=> asked.stable, file.path LIMIT :limit
    )
    SELECT repository.partition AS repository, nearest.path, nearest.language, snapshot.commit, nearest.score::float8 AS score,
           (SELECT max(end_line) FROM repositories.symbols s WHERE s.snapshot_id = nearest.snapshot_id AND s.path = nearest.path) AS last_line,
           (SELECT array_agg(DISTINCT edge.kind || ' ' || CASE WHEN edge.source = asked.path THEN 'to' ELSE 'from' END)
            FROM repositories.edges edge WHERE edge.snapshot_id = asked.snapshot_id AND nearest.snapshot_id = asked.snapshot_id
              AND ((edge.source, edge.target) = (asked.path, nearest.path) OR (edge.source, edge.target) = (nearest.path, asked.path))) AS edges,
           (SELECT array_agg(both_use.target ORDER BY both_use.target) FROM (
                SELECT target FROM repositories.edges WHERE snapshot_id = asked.snapshot_id AND source = asked.path
                INTERSECT
                SELECT target FROM repositories.edges
                WHERE snapshot_id = nearest.snapshot_id AND source = nearest.path AND nearest.snapshot_id = asked.snapshot_id LIMIT 10
            ) both_use) AS both_use,
           (SELECT array_agg(common.name ORDER BY common.name) FROM (
                (SELECT name FROM repositories.symbols WHERE snapshot_id = asked.snapshot_id AND path = asked.path
                 UNION SELECT unnest(names) FROM repositories.edges WHERE snapshot_id = asked.snapshot_id AND source = asked.path)
                INTERSECT
                (SELECT name FROM repositories.symbols WHERE snapshot_id = nearest.snapshot_id AND path = nearest.path
                 UNION SELECT unnest(names) FROM repositories.edges WHERE snapshot_id = nearest.snapshot_id AND source = nearest.path)
                LIMIT 10
            ) common) AS names
    FROM nearest CROSS JOIN asked JOIN repositories.snapshots snapshot ON snapshot.id = nearest.snapshot_id
    JOIN repositories.repositories repository ON repository.id = snapshot.repository_id
    ORDER BY nearest.score DESC, nearest.path
""")


def repositories(connection: sa.Connection, *, after: str, limit: int) -> list[dict[str, Any]]:
    """Repositories that were indexed, by name."""
    return _dicts(connection.execute(_REPOSITORIES, {"after": after, "limit": limit}))


def files(
    connection: sa.Connection,
    partition: str,
    *,
    state: str | None,
    reason: str | None,
    after: str,
    limit: int,
) -> list[dict[str, Any]] | None:
    """The files of a repository by path; None where it was never indexed."""
    if snapshot_seen(connection, partition) is None:
        return None
    values = {"partition": partition, "state": state, "reason": reason, "after": after, "limit": limit}
    return _dicts(connection.execute(_FILES, values))


def snapshot_seen(connection: sa.Connection, partition: str) -> int | None:
    """The snapshot of a repository that readers see."""
    return connection.scalar(_KNOWN, {"partition": partition})


def file_of(connection: sa.Connection, snapshot: int, path: str) -> sa.Row[Any] | None:
    """A file by its path, as it is stored or as it is shown: whether it is embedded, or why not; None where there is none."""
    for stored in dict.fromkeys((path, _ESCAPED.sub(_unescaped, path))):
        found = connection.execute(_FILE, {"snapshot": snapshot, "path": stored}).one_or_none()
        if found is not None:
            return found
    return None


_ESCAPED = re.compile(r"\\(?:[nrt]|x[0-7][0-9a-f]|u[0-9a-f]{4}|U[0-9a-f]{8})")


def _unescaped(found: re.Match[str]) -> str:
    """What was escaped to be shown; what is stored escaped stays so, and what is no character."""
    text = found[0]
    made = text.encode().decode("unicode_escape", "replace")
    return text if made in {"\\", "\0"} or "\ud800" <= made <= "\udfff" else made


def similar(
    connection: sa.Connection, snapshot: int, path: str, *, everywhere: bool, limit: int
) -> list[dict[str, Any]]:
    """The files whose stable parts are the nearest, of its snapshot or of all repositories, and what they have in common with it."""
    values = {"snapshot": snapshot, "path": path, "everywhere": everywhere, "limit": limit}
    return [_hit(row) for row in _dicts(connection.execute(_SIMILAR, values))]


def _hit(row: Mapping[str, Any]) -> dict[str, Any]:
    why = {name: row[name] or [] for name in ("edges", "both_use", "names")}
    kept = {name: row[name] for name in ("repository", "path", "language", "commit", "score")}
    why["both_use"] = [_as_shown(path) for path in why["both_use"]]
    return {**kept, "lines": [1, row["last_line"]] if row["last_line"] else None, "why": why}


def _dicts(rows: sa.CursorResult[Any]) -> list[dict[str, Any]]:
    """Rows, their paths as they are shown."""
    return [
        {**row, "path": _as_shown(row["path"])} if "path" in row else dict(row) for row in rows.mappings()
    ]


def _as_shown(path: str) -> str:
    return shown(restored(path))


MOST_NAMES = 10
FUSION = 60  # the constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)
MOST_WORDS = 16
MOST_LOOKED_AT = 20_000
"""Symbols that are looked at, shared by the words: of one that is everywhere, more say nothing, and hide no rare one."""
_BY_NAME = sa.text("""
    WITH candidates AS MATERIALIZED (
        (SELECT symbol.* FROM repositories.symbols symbol JOIN repositories.repositories repository ON repository.snapshot_id = symbol.snapshot_id
         WHERE lower(symbol.name) = ANY(CAST(:words AS text[])) AND (CAST(:partition AS text) IS NULL OR repository.partition = :partition)
         LIMIT :most)
        UNION
        (SELECT part.* FROM unnest(CAST(:words AS text[])) word CROSS JOIN LATERAL (
             SELECT symbol.* FROM repositories.symbols symbol
             JOIN repositories.repositories repository ON repository.snapshot_id = symbol.snapshot_id
             WHERE repositories.name_parts(symbol.name) @@ CAST('''' || word || ''':*' AS tsquery)
               AND (CAST(:partition AS text) IS NULL OR repository.partition = :partition)
             LIMIT :each
         ) part)
    )
    SELECT repository.partition AS repository, symbol.path, symbol.start_line, symbol.end_line, symbol.name, symbol.kind,
           snapshot.commit, file.language
    FROM candidates symbol
    JOIN repositories.repositories repository ON repository.snapshot_id = symbol.snapshot_id
    JOIN repositories.snapshots snapshot ON snapshot.id = symbol.snapshot_id
    JOIN repositories.files file ON file.snapshot_id = symbol.snapshot_id AND file.path = symbol.path
    CROSS JOIN LATERAL (
        SELECT count(*) AS words, bool_or(lower(symbol.name) = word) AS whole FROM unnest(CAST(:words AS text[])) word
        WHERE strpos(lower(symbol.name), word) > 0
    ) found
    ORDER BY found.words DESC, found.whole DESC, length(symbol.name), repository.partition, symbol.path, symbol.start_line
    LIMIT :limit
""")
_BY_TEXT = sa.text("""
    SELECT repository.partition AS repository, file.path, chunk.start_line, chunk.end_line, snapshot.commit, file.language,
           (1 - (chunk.embedding <=> CAST(:vector AS halfvec)))::float8 AS cosine
    FROM repositories.chunks chunk
    JOIN repositories.files file ON file.blob = chunk.blob AND file.language = chunk.language AND file.state = 'embedded'
    JOIN repositories.snapshots snapshot ON snapshot.id = file.snapshot_id AND snapshot.text_model = chunk.model
    JOIN repositories.repositories repository ON repository.snapshot_id = snapshot.id
    WHERE starts_with(chunk.model, :space) AND (CAST(:partition AS text) IS NULL OR repository.partition = :partition)
    ORDER BY chunk.embedding <=> CAST(:vector AS halfvec), repository.partition, file.path LIMIT :limit
""")


def by_name(
    connection: sa.Connection, words: Sequence[str], *, partition: str | None, limit: int
) -> list[dict[str, Any]]:
    """Symbols whose names have most of these words (letters, digits and `_`, lower case): a word of the name begins with each. Of more than
    `MOST_WORDS` words the longest count."""
    chosen = sorted(words, key=lambda word: (-len(word), word))[:MOST_WORDS]
    if not chosen:
        return []
    values = {
        "words": chosen, "partition": partition, "limit": limit, "most": MOST_LOOKED_AT, "each": MOST_LOOKED_AT // len(chosen),
    }  # fmt: skip
    return _dicts(connection.execute(_BY_NAME, values))


def by_text(
    connection: sa.Connection, vector: str, *, space: str, partition: str | None, limit: int
) -> list[dict[str, Any]]:
    """Pieces of code whose text is the nearest to a vector of the model `space`."""
    values = {"vector": vector, "space": space, "partition": partition, "limit": limit}
    return _dicts(connection.execute(_BY_TEXT, values))


def fused(
    named: Sequence[Mapping[str, Any]], texts: Sequence[Mapping[str, Any]], *, limit: int
) -> list[dict[str, Any]]:
    """Both lists as one of files, by reciprocal rank; a hit has the lines of its best piece, and why it is one."""
    hits: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (*texts, *named):
        kept = {name: row[name] for name in ("repository", "path", "language", "commit")}
        lines, why = [row["start_line"], row["end_line"]], {"names": [], "text": None}
        hits.setdefault(_file_of(row), {**kept, "lines": lines, "score": 0.0, "why": why})
    for found in (texts, named):
        for rank, file in enumerate(dict.fromkeys(map(_file_of, found)), start=1):
            hits[file]["score"] += 1 / (FUSION + rank)
    for row in named:
        names = hits[_file_of(row)]["why"]["names"]
        if row["name"] not in names and len(names) < MOST_NAMES:
            names.append(row["name"])
    for row in reversed(texts):  # the best one last
        hits[_file_of(row)]["why"]["text"] = round(row["cosine"], 4)
    ordered = sorted(hits.values(), key=lambda hit: (-hit["score"], hit["repository"], hit["path"]))
    return ordered[:limit]


def _file_of(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["repository"], row["path"]
