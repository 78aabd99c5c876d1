"""Which keys of partitions that never close were idle the longest, for a flow that has more of them than it may."""

from collections.abc import Sequence

import sqlalchemy as sa

_IDLE = sa.text("""
    SELECT listed.key FROM unnest(CAST(:keys AS text[])) AS listed (key)
    LEFT JOIN (
        SELECT partition, bool_or(state NOT IN ('done', 'failed')) AS open,
               max(greatest(received_at, queued_at, finished_at)) AS used
        FROM ingestion.drops WHERE flow = :flow GROUP BY partition
    ) AS seen ON seen.partition = listed.key
    WHERE NOT coalesce(seen.open, false)
      AND coalesce(seen.used < clock_timestamp() - make_interval(secs => :idle_s), true)
    ORDER BY seen.used NULLS FIRST, listed.key LIMIT :at_most
""")


def idle_keys(
    connection: sa.Connection, flow: str, keys: Sequence[str], *, idle_s: float, at_most: int
) -> list[str]:
    """Those of `keys` that nothing was received, queued or finished for in so many seconds, the longest idle first."""
    values = {"flow": flow, "keys": list(keys), "idle_s": idle_s, "at_most": at_most}
    return list(connection.scalars(_IDLE, values))
