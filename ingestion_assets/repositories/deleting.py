"""Deleting a repository: what waits or is worked on for it is cancelled, then all that is stored of it goes."""

import sqlalchemy as sa

from ingestion_assets.landing import wanted
from ingestion_assets.repositories.flow import NAME
from ingestion_assets.repositories.index_jobs import lock, note_ended
from ingestion_assets.repositories.snapshots import delete_repository

_OPEN = sa.text("""
    SELECT id FROM ingestion.drops WHERE flow = :flow AND partition = :partition AND state IN ('landed', 'claimed', 'held')
""")


def delete(connection: sa.Connection, partition: str) -> bool:
    """Whether there was anything of it. A run at work on it ends at its next safe point, and what it had written is gone."""
    lock(connection)
    drops = list(connection.scalars(_OPEN, {"flow": NAME, "partition": partition}))
    cancelled = [drop for drop in drops if wanted.cancel(connection, drop)]
    note_ended(connection, partition)
    return delete_repository(connection, partition) or bool(cancelled)
