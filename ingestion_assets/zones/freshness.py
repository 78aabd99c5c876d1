"""How old the newest payload of a zone is, by the ledger's clock."""

import sqlalchemy as sa

from ingestion_assets.stores import postgres

_AGE = sa.text("""
    SELECT extract(epoch FROM clock_timestamp() - received_at)::float8
    FROM ingestion.drops WHERE flow = :zone ORDER BY id DESC LIMIT 1
""")


def newest_age_s(zone: str) -> float | None:
    """Seconds since it came; None where none ever did."""
    with postgres.engine().connect() as connection:
        return connection.scalar(_AGE, {"zone": zone})
