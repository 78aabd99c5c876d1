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
_LATER = "look_at = clock_timestamp() + make_interval(secs => least(:longest_s, :every_s * 2 ^ least(looks_failed + 1, 20)) * (1 + :spread * (random() - 0.5)))"
_UNCHANGED = sa.text("UPDATE repositories.repositories SET looks_failed = 0, tried = NULL WHERE id = :id")
_CHANGED = sa.text("""
    UPDATE repositories.repositories SET looks_failed = 0, wanted_at = clock_timestamp(), tried = :commit
    WHERE id = :id AND tried IS DISTINCT FROM :commit
""")
_TRIED = sa.text(f"""
    UPDATE repositories.repositories repository SET looks_failed = looks_failed + 1, wanted_at = clock_timestamp(), {_LATER}
    WHERE id = :id AND wanted_at IS NULL
      AND NOT EXISTS (SELECT FROM repositories.jobs job WHERE job.partition = repository.partition AND job.ended_at IS NULL)
""")
_FAILED = sa.text(
    f"UPDATE repositories.repositories SET looks_failed = looks_failed + 1, {_LATER} WHERE id = :id"
)
_NOT_ASKED = sa.text("UPDATE repositories.repositories SET look_at = clock_timestamp() WHERE id = ANY(:ids)")
_WANT = sa.text("""
    UPDATE repositories.repositories SET wanted_at = coalesce(wanted_at, clock_timestamp()) WHERE partition = :partition
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


def seen(connection: sa.Connection, look: Look, commit: str | None, *, every_s: float) -> bool:
    """Note what a look found; whether the repository is to be submitted. A commit that it was submitted for already, and which came to
    nothing, is tried again ever more rarely, once a day in the end."""
    if commit is None or commit == look.commit:
        connection.execute(_UNCHANGED, {"id": look.id})
        return False
    if connection.execute(_CHANGED, {"id": look.id, "commit": commit}).rowcount:
        return True
    values = {"id": look.id, "every_s": every_s, "longest_s": LONGEST_S, "spread": SPREAD}
    return connection.execute(_TRIED, values).rowcount > 0


def not_asked(connection: sa.Connection, looks: Sequence[Look]) -> None:
    """Time was too short for these: they are due as before."""
    connection.execute(_NOT_ASKED, {"ids": [look.id for look in looks]})


def want(connection: sa.Connection, partition: str) -> None:
    """Have a repository submitted when there is a place."""
    connection.execute(_WANT, {"partition": partition})


def failed(connection: sa.Connection, look: Look, *, every_s: float) -> None:
    """Nothing was found out: the next look is twice as far away as the last, a day at most."""
    connection.execute(_FAILED, {"id": look.id, "every_s": every_s, "longest_s": LONGEST_S, "spread": SPREAD})


def wanted(connection: sa.Connection) -> tuple[int, Submission] | None:
    """A repository with a new commit, which is to be submitted: the longest known."""
    row = connection.execute(_WANTED).one_or_none()
    return None if row is None else (row.id, Submission(row.repository, row.ref))


def submitted(connection: sa.Connection, repository: int) -> None:
    connection.execute(_SUBMITTED, {"id": repository})
