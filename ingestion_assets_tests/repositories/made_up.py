"""Snapshots made up for tests of what is stored and read: files with vectors, symbols, links and chunks, published as a run would."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim
from ingestion_assets.landing.clock import take_sample
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.leases import take_lease
from ingestion_assets.repositories import contents, snapshots
from ingestion_assets.repositories.contents import Content
from ingestion_assets.repositories.flow import NAME, Submission
from ingestion_assets.repositories.snapshots import Models

MODELS = Models("text/1/", "structure/1")
WIDTH = 384
AT = datetime(2026, 1, 31, tzinfo=UTC)


def held_claim(connection: sa.Connection, partition: str) -> Claim:
    """An empty claim whose run holds the repository's lane."""
    lane, run_id = Lane(NAME, partition, partition), str(uuid.uuid4())
    connection.execute(sa.text("DELETE FROM ingestion.leases WHERE lane = :lane"), {"lane": partition})
    take_lease(connection, lane, run_id=run_id, lease_s=60)
    return Claim(run_id, run_id, (lane,), (), take_sample(connection))


def vector(*places: int) -> np.ndarray:
    """A unit vector with the same weight at these places."""
    made = np.zeros(WIDTH, np.float32)
    made[list(places)] = 1.0
    return made / np.linalg.norm(made)


def blob(text: str) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_URL, text).bytes + b"1234"


def begin(
    connection: sa.Connection, partition: str, files: Mapping[str, str | None], *, models: Models = MODELS
) -> tuple[int, int]:
    """A snapshot with files by path: what each holds, None for one that is skipped as binary. The ids of repository and snapshot."""
    name, _, ref = partition.partition("@")
    repository = snapshots.repository_of(connection, Submission(name, ref or None))
    rows = [
        (path, blob(text), len(text), "python", "embedded", None, None)
        if text is not None
        else (path, blob(path), 9, None, "skipped", "binary", None)
        for path, text in files.items()
    ]
    snapshot = snapshots.begin_snapshot(
        connection, repository, commit="c" * 40, tree="t" * 40, branch="main", models=models, files=rows
    )
    return repository, snapshot


def index(
    engine: sa.Engine,
    partition: str,
    files: Mapping[str, str | None],
    vectors: Mapping[str, np.ndarray],
    *,
    symbols: Sequence[tuple[Any, ...]] = (),
    edges: Sequence[tuple[Any, ...]] = (),
    models: Models = MODELS,
) -> int:
    """Index a repository by hand; the id of its snapshot."""
    with engine.begin() as connection:
        claim = held_claim(connection, partition)
        repository, snapshot = begin(connection, partition, files, models=models)
        snapshots.write_graph(connection, snapshot, symbols=symbols, edges=edges)
        stable = np.stack(list(vectors.values()))
        snapshots.write_vectors(connection, snapshot, list(vectors), stable, None)
        embedded = {Content(blob(text), "python"): text for text in files.values() if text is not None}
        keep(connection, snapshot, embedded, models=models)
        facts = {
            "files": len(files), "embedded": len(vectors), "skipped": len(files) - len(vectors), "languages": {"python": len(vectors)},
            "reasons": {}, "edges": {}, "unresolved": {}, "held_out_auc": None,
        }  # fmt: skip
        snapshots.publish(connection, claim, repository, snapshot, facts)
    return snapshot


def keep(
    connection: sa.Connection, snapshot: int, embedded: Mapping[Content, str], *, models: Models = MODELS
) -> None:
    """One chunk for each content, and something parsed."""
    rows = [(content, 0, 1, 3, text, vector(len(text) % WIDTH)) for content, text in embedded.items()]
    contents.keep_chunks(connection, rows, snapshot=snapshot, model=models.text)
    contents.keep_parsed(connection, dict.fromkeys(embedded, b"{}"), snapshot=snapshot, version="1")
