"""When the disk that holds all state will be full, from how much fuller it got within the last days."""

import math
import shutil
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

EVERY = timedelta(minutes=10)
LONGEST = timedelta(days=3)
SHORTEST = timedelta(hours=6)  # a fresh installation fills quickly at first, which says nothing of its days
BURST = timedelta(hours=2)

_ADD = sa.text("""
    INSERT INTO ingestion.disk_usage (place, used_bytes, free_bytes)
    SELECT :place, :used, :free WHERE NOT EXISTS (
        SELECT FROM ingestion.disk_usage WHERE place = :place AND at > now() - :every
    ) ON CONFLICT DO NOTHING
""")
# Of all places: a container that is started anew has another name, and nobody looks at its old one again.
_FORGET = sa.text("DELETE FROM ingestion.disk_usage WHERE at < now() - CAST(:longest AS interval)")
_GROWTH = sa.text("""
    WITH seen AS (
        SELECT at, used_bytes FROM ingestion.disk_usage WHERE place = :place
        UNION ALL SELECT now(), :used
    )
    SELECT extract(epoch FROM now() - min(at))::float8 AS seconds,
           :used - (array_agg(used_bytes ORDER BY at))[1] AS grown, max(within_burst) AS in_a_burst
    FROM (
        SELECT at, used_bytes, used_bytes - min(used_bytes) OVER (
            ORDER BY at RANGE BETWEEN CAST(:burst AS interval) PRECEDING AND CURRENT ROW
        ) AS within_burst FROM seen
    ) each
""").bindparams(sa.bindparam("used", type_=sa.BigInteger))


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk now. `bytes_a_day`: by how much more is used each day; None while too little was seen of it."""

    free_bytes: int
    bytes_a_day: float | None

    @property
    def days_left(self) -> float | None:
        """Until it is full, if it goes on like this; infinite while it does not fill."""
        if self.bytes_a_day is None:
            return None
        return self.free_bytes / self.bytes_a_day if self.bytes_a_day > 0 else math.inf


def look(connection: sa.Connection, folder: Path) -> Disk:
    """Look at the disk of a folder, and remember what was seen, at most every ten minutes.

    The pace is that of the last three days without their fullest two hours: one burst (an installation, a rebuild, somebody's copy)
    says nothing of the days to come, and what comes back each day counts.
    """
    usage = shutil.disk_usage(folder)
    place = f"{socket.gethostname()} {folder}"
    connection.execute(_ADD, {"place": place, "used": usage.used, "free": usage.free, "every": EVERY})
    connection.execute(_FORGET, {"longest": LONGEST})
    seen = connection.execute(_GROWTH, {"place": place, "used": usage.used, "burst": BURST}).one()
    if seen.seconds < SHORTEST.total_seconds():
        return Disk(usage.free, None)
    pace = (seen.grown - seen.in_a_burst) / (seen.seconds - BURST.total_seconds())
    return Disk(usage.free, pace * 86_400)
