"""Credentials for private repositories, one a host, sealed with the server's key. No read gives one back."""

import sqlalchemy as sa

from ingestion_assets.repositories.flow import Submission
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import sealer

_KEEP = sa.text("""
    INSERT INTO repositories.credentials (host, sealed) VALUES (:host, :sealed)
    ON CONFLICT (host) DO UPDATE SET sealed = excluded.sealed
""")


def keep_credential(connection: sa.Connection, host: str, credential: str, settings: Settings) -> None:
    """Keep what a host asks for: `user:password`, or `user:token`."""
    connection.execute(_KEEP, {"host": host, "sealed": sealer(settings).seal(credential)})


def forget_credential(connection: sa.Connection, host: str) -> bool:
    """Whether there was one."""
    deleted = connection.execute(
        sa.text("DELETE FROM repositories.credentials WHERE host = :host"), {"host": host}
    )
    return deleted.rowcount > 0


def credential_for(connection: sa.Connection, submission: Submission, settings: Settings) -> str | None:
    """The credential for the host of a repository. Raises `SealError`."""
    host = submission.repository.partition("/")[0]
    query = sa.text("SELECT sealed FROM repositories.credentials WHERE host = :host")
    sealed = connection.scalar(query, {"host": host})
    return None if sealed is None else sealer(settings).open(sealed)
