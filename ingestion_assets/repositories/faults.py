"""What is wrong with a snapshot as it stands in the tables; nothing, in one that may be published."""

from collections.abc import Mapping

import sqlalchemy as sa

_FAULTS = {
    "accounting": """
        SELECT format('%s files were listed, %s are stored', :files, count(*)) AS fault
        FROM repositories.files WHERE snapshot_id = :id HAVING count(*) <> :files
    """,
    "one_vector_each": """
        SELECT path AS fault FROM repositories.files
        WHERE snapshot_id = :id AND (state = 'embedded') <> (stable IS NOT NULL)
    """,
    "no_empty_vector": """
        SELECT path AS fault FROM repositories.files
        WHERE snapshot_id = :id AND stable IS NOT NULL AND NOT l2_norm(stable) BETWEEN 0.9 AND 1.1
    """,
    "only_files_of_the_snapshot": """
        SELECT DISTINCT named.path AS fault FROM (
            SELECT path FROM repositories.symbols WHERE snapshot_id = :id
            UNION ALL SELECT source FROM repositories.edges WHERE snapshot_id = :id
            UNION ALL SELECT target FROM repositories.edges WHERE snapshot_id = :id
        ) named LEFT JOIN repositories.files file
            ON file.snapshot_id = :id AND file.path = named.path AND file.state = 'embedded'
        WHERE file.path IS NULL
    """,
}
SHOWN = 20


def faults_of(connection: sa.Connection, snapshot: int, *, files: int) -> Mapping[str, list[str]]:
    """By check, up to twenty things that are wrong; `files`: how many its tree has."""
    values = {"id": snapshot, "files": files}
    return {
        check: list(connection.scalars(sa.text(f"{query} LIMIT {SHOWN}"), values))
        for check, query in _FAULTS.items()
    }
