"""Payloads that have landed and wait for their time, because a person cancelled their run or a store was away."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing.channels import announce

_PAUSE = sa.text("""
    UPDATE ingestion.drops SET not_before = clock_timestamp() + make_interval(secs => :seconds),
           errors = CAST(:errors AS jsonb)
    WHERE flow = :flow AND lane = :lane AND state = 'landed'
      AND (not_before IS NULL OR not_before < clock_timestamp() + make_interval(secs => :seconds))
""")
_WAITING = """
    state = 'landed' AND not_before > clock_timestamp() AND (CAST(:flow AS text) IS NULL OR flow = :flow)
    AND (CAST(:lane AS text) IS NULL OR lane = :lane) AND (CAST(:id AS uuid) IS NULL OR id = :id)
"""
_LIST = sa.text(f"""
    SELECT flow, lane, count(*) AS payloads, min(not_before) AS until, min(errors -> 0 ->> 'reason') AS reason
    FROM ingestion.drops WHERE {_WAITING} GROUP BY flow, lane ORDER BY until
""")
_FIRST = sa.text("""
    SELECT lane, not_before AS until, errors -> 0 ->> 'reason' AS reason FROM ingestion.drops
    WHERE state = 'landed' AND flow = :flow ORDER BY flow, lane, id LIMIT 1
""")
_RESUME = sa.text(f"UPDATE ingestion.drops SET not_before = NULL WHERE {_WAITING} RETURNING flow, lane")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Payloads of a lane that no run takes before a time; `reason` is what happened to the first."""

    flow: str
    lane: str
    payloads: int
    until: datetime
    reason: str | None


def pause_lane(
    connection: sa.Connection, flow: str, lane: str, *, error: Mapping[str, Any], seconds: float
) -> int:
    """Have no run take what has landed in a lane until now; later payloads are not concerned. Gives their number."""
    values = {
        "flow": flow,
        "lane": lane,
        "seconds": seconds,
        "errors": msgspec.json.encode([error]).decode(),
    }
    return connection.execute(_PAUSE, values).rowcount


def waiting(connection: sa.Connection, *, flow: str | None = None, lane: str | None = None) -> list[Waiting]:
    """What waits, by lane, the soonest first."""
    rows = connection.execute(_LIST, {"flow": flow, "lane": lane, "id": None})
    return [Waiting(**row._mapping) for row in rows]


def why_waiting(connection: sa.Connection, flow: str) -> str | None:
    """Why nothing of a flow with landed payloads can be taken now, in words; reads one of them, however many there are."""
    first = connection.execute(_FIRST, {"flow": flow}).one_or_none()
    if first is None or first.until is None:
        return None
    reason = f": {first.reason}" if first.reason else ""
    return f"Payloads of {first.lane} wait until {first.until:%H:%M:%S} UTC{reason}"


def resume(
    connection: sa.Connection,
    *,
    flow: str | None = None,
    lane: str | None = None,
    receipt: UUID | None = None,
) -> int:
    """Let runs take what waits at once. Gives the number of payloads."""
    rows = connection.execute(_RESUME, {"flow": flow, "lane": lane, "id": receipt}).all()
    announce(connection, [(row.flow, row.lane) for row in rows])
    return len(rows)
