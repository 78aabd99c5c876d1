"""Payloads of flows that are not there: nobody would ever take them, so they end as failed, kept whole for redriving."""

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing.finishing import end_as_rejects

CODE = "unknown_flow"
GRACE_S = 600.0  # a front door may know a new flow before the code location does

_FAIL = sa.text("""
    UPDATE ingestion.drops SET state = 'failed', finished_at = clock_timestamp(), errors = CAST(:errors AS jsonb)
    WHERE state = 'landed' AND flow = :flow
      AND coalesce(queued_at, received_at) < clock_timestamp() - make_interval(secs => :grace_s)
    RETURNING id, flow
""")
_FLOWS = sa.text("""
    WITH RECURSIVE flows AS (
        (SELECT flow FROM ingestion.drops WHERE state = 'landed' ORDER BY flow LIMIT 1)
        UNION ALL
        SELECT (SELECT flow FROM ingestion.drops WHERE state = 'landed' AND flow > flows.flow ORDER BY flow LIMIT 1)
        FROM flows WHERE flows.flow IS NOT NULL
    ) SELECT flow FROM flows WHERE flow IS NOT NULL
""")


def fail(connection: sa.Connection, *, known: Collection[str], grace_s: float = GRACE_S) -> int:
    """End what has waited for other flows than those known for so long; gives the number of payloads."""
    ended = 0
    for flow in set(connection.scalars(_FLOWS)) - set(known):
        error = {"code": CODE, "reason": f"there is no flow {flow}; redrive the payload once there is"}
        values = {"flow": flow, "grace_s": grace_s, "errors": msgspec.json.encode([error]).decode()}
        rows = connection.execute(_FAIL, values).all()
        end_as_rejects(connection, {row.id: row.flow for row in rows}, error)
        ended += len(rows)
    return ended
