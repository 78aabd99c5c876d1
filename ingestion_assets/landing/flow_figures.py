"""What flows did within the last hour, minute by minute: payloads and records that ended, and how long that took from their acceptance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

MINUTES = 60

_FIGURES = sa.text("""
    SELECT flow, date_trunc('minute', finished_at) AS at, count(*) AS payloads, sum(records) AS records,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - received_at)) AS seconds
    FROM ingestion.drops
    WHERE flow = ANY(:flows) AND finished_at > now() - make_interval(mins => :minutes) AND NOT attributes ? 'alias_of'
    GROUP BY 1, 2 ORDER BY 1, 2
""").bindparams(minutes=MINUTES)


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended within a minute of one flow. `p50_s`, `p95_s`: seconds from acceptance to outcome."""

    at: datetime
    payloads: int
    records: int
    failed: int
    p50_s: float
    p95_s: float


_WAITING = sa.text(
    "SELECT count(*) FROM ingestion.drops WHERE flow = :flow AND state IN ('landed', 'claimed')"
)


def waiting(connection: sa.Connection, flow: str) -> int:
    """How many payloads of the flow have not ended."""
    return connection.execute(_WAITING, {"flow": flow}).scalar_one()


async def last_hour(engine: AsyncEngine, flows: Sequence[str]) -> dict[str, list[Minute]]:
    """By flow the minutes in which something ended, oldest first."""
    figures: dict[str, list[Minute]] = {name: [] for name in flows}
    async with engine.connect() as connection:
        rows = (await connection.execute(_FIGURES, {"flows": list(flows)})).all()
    for row in rows:
        p50_s, p95_s = (round(float(seconds), 3) for seconds in row.seconds)
        figures[row.flow].append(Minute(row.at, row.payloads, int(row.records), row.failed, p50_s, p95_s))
    return figures
