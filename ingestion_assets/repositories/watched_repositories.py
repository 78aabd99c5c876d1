"""Watched repositories: which are to be asked for their newest commit, and when again. Bounded, spread out, backing off."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ingestion_assets.repositories.flow import Submission

LONGEST_S = 86_400.0
SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Look:
    """A repository whose time has come, and the commit that readers see."""

    id: int
    submission: Submission
    commit: str | None


_SET = sa.text("""
    UPDATE repositories.repositories SET watched = :watched, look_at = clock_timestamp(), looks_failed = 0
    WHERE partition = :partition RETURNING id
""")
# The next look is set before this one is made: a process that dies in between makes none twice.
_DUE = sa.text("""
    UPDATE repositories.repositories repository
    SET look_at = clock_timestamp() + make_interval(secs => :every_s * (1 + :spread * (random() - 0.5)))
    FROM (
        SELECT due.id, snapshot.commit FROM repositories.repositories due
        LEFT JOIN repositories.snapshots snapshot ON snapshot.id = due.snapshot_id
        WHERE due.watched AND due.look_at <= clock_timestamp() ORDER BY due.look_at LIMIT :most FOR UPDATE OF due SKIP LOCKED
    ) due WHERE repository.id = due.id
    RETURNING repository.id, repository.repository, repository.ref, due.commit
""")
_SEEN = sa.text("""
    UPDATE repositories.repositories SET looks_failed = 0, wanted_at = CASE WHEN :changed THEN clock_timestamp() ELSE wanted_at END
    WHERE id = :id
""")
_FAILED = sa.text("""
    UPDATE repositories.repositories SET looks_failed = looks_failed + 1,
        look_at = clock_timestamp() + make_interval(secs => least(:longest_s, :every_s * 2 ^ least(looks_failed + 1, 20)) * (1 + :spread * (random() - 0.5)))
    WHERE id = :id
""")
_WANTED = sa.text(
    "SELECT id, repository, ref FROM repositories.repositories WHERE wanted_at IS NOT NULL ORDER BY wanted_at LIMIT 1"
)
_SUBMITTED = sa.text("UPDATE repositories.repositories SET wanted_at = NULL WHERE id = :id")


def set_watched(connection: sa.Connection, partition: str, watched: bool) -> bool:
    """Watch a repository, or no longer. False where it was never indexed."""
    values = {"partition": partition, "watched": watched}
    return connection.execute(_SET, values).one_or_none() is not None


def due(connection: sa.Connection, *, most: int, every_s: float) -> Sequence[Look]:
    """The repositories to look at now, `most` of them."""
    rows = connection.execute(_DUE, {"most": most, "every_s": every_s, "spread": SPREAD})
    return [Look(row.id, Submission(row.repository, row.ref), row.commit) for row in rows]


def seen(connection: sa.Connection, look: Look, commit: str | None) -> bool:
    """Note what a look found; whether the repository is to be submitted."""
    changed = commit is not None and commit != look.commit
    connection.execute(_SEEN, {"id": look.id, "changed": changed})
    return changed


def failed(connection: sa.Connection, look: Look, *, every_s: float) -> None:
    """Nothing was found out: the next look is twice as far away as the last, a day at most."""
    connection.execute(_FAILED, {"id": look.id, "every_s": every_s, "longest_s": LONGEST_S, "spread": SPREAD})


def wanted(connection: sa.Connection) -> tuple[int, Submission] | None:
    """A repository with a new commit, which is to be submitted: the longest known."""
    row = connection.execute(_WANTED).one_or_none()
    return None if row is None else (row.id, Submission(row.repository, row.ref))


def submitted(connection: sa.Connection, repository: int) -> None:
    connection.execute(_SUBMITTED, {"id": repository})
