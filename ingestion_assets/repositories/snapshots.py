"""Snapshots: what a repository holds at one commit, built beside what readers see and put in its place as a whole.

A snapshot that is not published is nobody's but its run's; the next run of the repository deletes it. What depends on a file's content
alone (what was parsed of it, vectors of its text) is kept by content, is found again by the next run, and goes with the last snapshot
that has the content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ingestion_assets.landing.claims import Claim, require_lanes
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.stores.postgres import copy_rows
from ingestion_assets.stores.storable_text import storable


class GoneError(Exception):
    """Somebody deleted the repository, or another run began it anew."""


@dataclass(frozen=True, slots=True)
class Models:
    """By what vectors are made. Others of another model are not comparable."""

    text: str
    structure: str


@dataclass(frozen=True, slots=True)
class Published:
    """The snapshot that readers see."""

    id: int
    commit: str | None
    tree: str | None
    models: Models
    facts: Mapping[str, Any]


_REPOSITORY = sa.text("""
    INSERT INTO repositories.repositories (partition, repository, ref) VALUES (:partition, :repository, :ref)
    ON CONFLICT (partition) DO UPDATE SET partition = excluded.partition RETURNING id
""")
_PUBLISHED = sa.text("""
    SELECT snapshot.id, snapshot.commit, snapshot.tree, snapshot.text_model, snapshot.structure_model, snapshot.facts
    FROM repositories.repositories repository JOIN repositories.snapshots snapshot ON snapshot.id = repository.snapshot_id
    WHERE repository.partition = :partition
""")
_BEGIN = sa.text("""
    INSERT INTO repositories.snapshots (repository_id, commit, tree, branch, text_model, structure_model)
    VALUES (:repository, :commit, :tree, :branch, :text, :structure) RETURNING id
""")
_HOLD = sa.text("SELECT id FROM repositories.snapshots WHERE id = :id FOR KEY SHARE")
_HOLD_REPOSITORY = sa.text("SELECT id FROM repositories.repositories WHERE id = :id FOR KEY SHARE")
_UNPUBLISHED = sa.text(
    "SELECT id FROM repositories.snapshots WHERE repository_id = :repository AND published_at IS NULL"
)
_OTHERS = sa.text("SELECT id FROM repositories.snapshots WHERE repository_id = :repository AND id <> :keep")

# Whoever begins to use content and whoever deletes what nobody uses take turns: either sees what the other did.
_CONTENT_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('repositories.content'))")


def repository_of(connection: sa.Connection, submission: Submission) -> int:
    """The repository's row, made where there is none."""
    values = {"partition": submission.partition, "repository": submission.repository, "ref": submission.ref}
    return connection.execute(_REPOSITORY, values).scalar_one()


def published(connection: sa.Connection, partition: str) -> Published | None:
    """What readers see of a repository."""
    row = connection.execute(_PUBLISHED, {"partition": partition}).one_or_none()
    if row is None:
        return None
    return Published(row.id, row.commit, row.tree, Models(row.text_model, row.structure_model), row.facts)


def begin_snapshot(
    connection: sa.Connection, repository: int, *, commit: str | None, tree: str | None, branch: str | None, models: Models,
    files: Iterable[Sequence[Any]],
) -> int:  # fmt: skip
    """A snapshot to be built, with its files (path, blob, size, language, state, reason, measure); what an earlier run left goes.

    Raises `GoneError` where the repository is gone.
    """
    connection.execute(_CONTENT_LOCK)
    if connection.scalar(_HOLD_REPOSITORY, {"id": repository}) is None:
        raise GoneError(f"repository {repository} is not there any more")
    left = list(connection.scalars(_UNPUBLISHED, {"repository": repository}))
    _delete(connection, left)
    values = {
        "repository": repository, "commit": commit, "tree": tree, "branch": branch, "text": models.text, "structure": models.structure,
    }  # fmt: skip
    snapshot = connection.execute(_BEGIN, values).scalar_one()
    columns = ("snapshot_id", "path", "blob", "size", "language", "state", "reason", "measure")
    copy_rows(connection, "repositories.files", columns, ((snapshot, *row) for row in files))
    return snapshot


def hold(connection: sa.Connection, snapshot: int) -> None:
    """Within this transaction nobody deletes the snapshot, and what is written for it goes with it later. Raises `GoneError`.

    Called before anything else is written: whoever deletes a snapshot takes its row first, then what it held.
    """
    if connection.scalar(_HOLD, {"id": snapshot}) is None:
        raise GoneError(f"snapshot {snapshot} is not there any more")


def skip_files(
    connection: sa.Connection, snapshot: int, reasons: Mapping[str, tuple[str, str | None]]
) -> None:
    """Files (path) that turned out not to be embedded: reason and measure."""
    if reasons:
        connection.execute(
            sa.text("""
                UPDATE repositories.files SET state = 'skipped', reason = :reason, measure = :measure
                WHERE snapshot_id = :snapshot AND path = :path
            """),
            [
                {"snapshot": snapshot, "path": path, "reason": reason, "measure": measure}
                for path, (reason, measure) in reasons.items()
            ],
        )


def write_graph(
    connection: sa.Connection,
    snapshot: int,
    *,
    symbols: Iterable[Sequence[Any]],
    edges: Iterable[Sequence[Any]],
) -> None:
    """Symbols (path, name, kind, start line, end line) and edges (source, target, kind, weight, names) of a snapshot, anew. Raises `GoneError`."""
    hold(connection, snapshot)
    for table in ("symbols", "edges"):
        connection.execute(
            sa.text(f"DELETE FROM repositories.{table} WHERE snapshot_id = :id"), {"id": snapshot}
        )
    named = ("snapshot_id", "path", "name", "kind", "start_line", "end_line")
    copy_rows(
        connection,
        "repositories.symbols",
        named,
        ((snapshot, path, storable(name), *rest) for path, name, *rest in symbols),
    )
    linked = ("snapshot_id", "source", "target", "kind", "weight", "names")
    copy_rows(
        connection,
        "repositories.edges",
        linked,
        ((snapshot, *rest, list(map(storable, names))) for *rest, names in edges),
    )


def write_vectors(
    connection: sa.Connection,
    snapshot: int,
    paths: Sequence[str],
    stable: np.ndarray,
    trained: np.ndarray | None,
) -> None:
    """The vectors of files: one row of `stable`, and of `trained` where there is one, for each path. Raises `GoneError`."""
    hold(connection, snapshot)
    connection.execute(
        sa.text("CREATE TEMPORARY TABLE vectors (path text, stable halfvec, trained halfvec) ON COMMIT DROP")
    )
    rows = (
        (path, as_halfvec(stable[number]), None if trained is None else as_halfvec(trained[number]))
        for number, path in enumerate(paths)
    )
    copy_rows(connection, "vectors", ("path", "stable", "trained"), rows)
    connection.execute(
        sa.text("""
            UPDATE repositories.files SET stable = vectors.stable, trained = vectors.trained FROM vectors
            WHERE files.snapshot_id = :snapshot AND files.path = vectors.path
        """),
        {"snapshot": snapshot},
    )


def as_halfvec(vector: np.ndarray) -> str:
    """A vector as PostgreSQL reads it."""
    return f"[{','.join(map(repr, vector.astype(np.float16).tolist()))}]"


_PUBLISH = sa.text(
    "UPDATE repositories.snapshots SET published_at = clock_timestamp(), facts = :facts WHERE id = :id"
).bindparams(sa.bindparam("facts", type_=JSONB))


def publish(
    connection: sa.Connection, claim: Claim, repository: int, snapshot: int, facts: Mapping[str, Any]
) -> None:
    """Put a snapshot in the place of the one that readers see; what only others had goes. Raises `ClaimLostError`, `GoneError`."""
    require_lanes(connection, claim)
    connection.execute(_CONTENT_LOCK)
    written = connection.execute(_PUBLISH, {"id": snapshot, "facts": dict(facts)}).rowcount
    if written != 1:
        raise GoneError(f"snapshot {snapshot} is not there any more")
    connection.execute(
        sa.text("UPDATE repositories.repositories SET snapshot_id = :snapshot WHERE id = :id"),
        {"id": repository, "snapshot": snapshot},
    )
    _delete(connection, list(connection.scalars(_OTHERS, {"repository": repository, "keep": snapshot})))


def note_commit(
    connection: sa.Connection, claim: Claim, snapshot: int, *, commit: str | None, branch: str | None
) -> None:
    """Another commit has the same tree. Raises `ClaimLostError`, `GoneError`."""
    require_lanes(connection, claim)
    written = connection.execute(
        sa.text("UPDATE repositories.snapshots SET commit = :commit, branch = :branch WHERE id = :id"),
        {"id": snapshot, "commit": commit, "branch": branch},
    ).rowcount
    if written != 1:
        raise GoneError(f"snapshot {snapshot} is not there any more")


def delete_repository(connection: sa.Connection, partition: str) -> bool:
    """All that is stored of a repository. False where there is none."""
    connection.execute(_CONTENT_LOCK)
    query = sa.text("SELECT id FROM repositories.repositories WHERE partition = :partition FOR UPDATE")
    repository = connection.scalar(query, {"partition": partition})
    if repository is None:
        return False
    _delete(connection, list(connection.scalars(_OTHERS, {"repository": repository, "keep": 0})))
    connection.execute(sa.text("DELETE FROM repositories.repositories WHERE id = :id"), {"id": repository})
    return True


_CONTENTS = sa.text("SELECT DISTINCT blob FROM repositories.files WHERE snapshot_id = ANY(:ids)")
_DELETE_SNAPSHOTS = sa.text("DELETE FROM repositories.snapshots WHERE id = ANY(:ids)")
_UNUSED = """
    NOT EXISTS (
        SELECT FROM repositories.files file JOIN repositories.snapshots snapshot ON snapshot.id = file.snapshot_id
        WHERE file.blob = kept.blob AND file.language = kept.language AND file.state = 'embedded' {also}
    )
"""
_DELETE_CHUNKS = sa.text(
    "DELETE FROM repositories.chunks kept WHERE blob = ANY(:blobs) AND "
    + _UNUSED.format(also="AND snapshot.text_model = kept.model")
)
_DELETE_PARSED = sa.text(
    "DELETE FROM repositories.parsed kept WHERE blob = ANY(:blobs) AND " + _UNUSED.format(also="")
)


def _delete(connection: sa.Connection, snapshots: Sequence[int]) -> None:
    if not snapshots:
        return
    blobs = list(connection.scalars(_CONTENTS, {"ids": snapshots}))
    connection.execute(_DELETE_SNAPSHOTS, {"ids": snapshots})
    connection.execute(_DELETE_CHUNKS, {"blobs": blobs})
    connection.execute(_DELETE_PARSED, {"blobs": blobs})
