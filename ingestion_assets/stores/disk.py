"""When the disk that holds all state will be full, from how much fuller it got within the last hours."""

import math
import shutil
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

EVERY = timedelta(minutes=5)
LONGEST = timedelta(days=1)
SHORTEST = timedelta(minutes=30)  # over less, what comes and goes would say more than what stays

_ADD = sa.text("""
    INSERT INTO ingestion.disk_usage (place, used_bytes, free_bytes)
    SELECT :place, :used, :free WHERE NOT EXISTS (
        SELECT FROM ingestion.disk_usage WHERE place = :place AND at > now() - :every
    ) ON CONFLICT DO NOTHING
""")
_FORGET = sa.text(
    "DELETE FROM ingestion.disk_usage WHERE place = :place AND at < now() - 2 * CAST(:longest AS interval)"
)
_OLDEST = sa.text("""
    SELECT used_bytes, extract(epoch FROM now() - at)::float8 AS age_s FROM ingestion.disk_usage
    WHERE place = :place AND at BETWEEN now() - CAST(:longest AS interval) AND now() - CAST(:shortest AS interval)
    ORDER BY at LIMIT 1
""")


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
    """Look at the disk of a folder, and remember what was seen, at most every five minutes."""
    usage = shutil.disk_usage(folder)
    place = f"{socket.gethostname()} {folder}"
    connection.execute(_ADD, {"place": place, "used": usage.used, "free": usage.free, "every": EVERY})
    connection.execute(_FORGET, {"place": place, "longest": LONGEST})
    before = connection.execute(
        _OLDEST, {"place": place, "longest": LONGEST, "shortest": SHORTEST}
    ).one_or_none()
    grown = None if before is None else (usage.used - before.used_bytes) / before.age_s * 86_400
    return Disk(usage.free, grown)
