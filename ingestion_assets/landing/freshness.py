"""How old the newest payload of a flow or zone is, by the ledger's clock: what its check `fresh` and the metric say."""

from collections.abc import Collection

import sqlalchemy as sa

# From partition to partition by the index, then the newest of each: payloads, however many, are not looked at.
_AGES = sa.text("""
    WITH RECURSIVE parts AS (
        SELECT wanted.flow, (
            SELECT partition FROM ingestion.drops WHERE drops.flow = wanted.flow ORDER BY partition DESC LIMIT 1
        ) AS partition FROM unnest(CAST(:flows AS text[])) AS wanted (flow)
        UNION ALL
        SELECT parts.flow, (
            SELECT partition FROM ingestion.drops
            WHERE drops.flow = parts.flow AND drops.partition < parts.partition ORDER BY partition DESC LIMIT 1
        ) FROM parts WHERE parts.partition IS NOT NULL
    )
    SELECT parts.flow, extract(epoch FROM clock_timestamp() - max(newest.received_at))::float8 AS age_s
    FROM parts CROSS JOIN LATERAL (
        SELECT received_at FROM ingestion.drops
        WHERE drops.flow = parts.flow AND drops.partition = parts.partition ORDER BY id DESC LIMIT 1
    ) newest GROUP BY parts.flow
""")


def newest_ages_s(connection: sa.Connection, flows: Collection[str]) -> dict[str, float]:
    """By flow the seconds since its newest payload was acknowledged. Those for which none ever was are left out."""
    rows = connection.execute(_AGES, {"flows": list(flows)})
    return {row.flow: max(0.0, row.age_s) for row in rows}
