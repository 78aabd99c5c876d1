"""How old the newest payload of a zone is, by the ledger's clock."""

import sqlalchemy as sa

from ingestion_assets.stores import postgres

# From partition to partition by the index, then the newest of each: payloads of other flows, however many, are not looked at.
_AGE = sa.text("""
    WITH RECURSIVE parts AS (
        (SELECT partition FROM ingestion.drops WHERE flow = :zone ORDER BY partition DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT partition FROM ingestion.drops WHERE flow = :zone AND partition < parts.partition ORDER BY partition DESC LIMIT 1)
        FROM parts WHERE parts.partition IS NOT NULL
    )
    SELECT extract(epoch FROM clock_timestamp() - max(newest.received_at))::float8
    FROM parts CROSS JOIN LATERAL (
        SELECT received_at FROM ingestion.drops WHERE flow = :zone AND partition = parts.partition ORDER BY id DESC LIMIT 1
    ) newest
""")


def newest_age_s(zone: str) -> float | None:
    """Seconds since it came; None where none ever did."""
    with postgres.engine().connect() as connection:
        return connection.scalar(_AGE, {"zone": zone})
