"""Deleting a repository: what waits or is worked on for it is cancelled, then all that is stored of it goes."""

import sqlalchemy as sa

from ingestion_assets.landing import wanted
from ingestion_assets.repositories.index_jobs import note_ended
from ingestion_assets.repositories.snapshots import delete_repository

_OPEN = sa.text("""
    SELECT drop_id FROM repositories.jobs WHERE partition = :partition AND ended_at IS NULL AND drop_id IS NOT NULL
""")


def delete(connection: sa.Connection, partition: str) -> bool:
    """Whether there was anything of it. A run at work on it ends at its next safe point, and what it had written is gone."""
    drops = list(connection.scalars(_OPEN, {"partition": partition}))
    cancelled = [drop for drop in drops if wanted.cancel(connection, drop)]
    note_ended(connection, partition)
    return delete_repository(connection, partition) or bool(cancelled)
