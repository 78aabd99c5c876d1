"""The day of a stream is one that Dagster has a partition for, whatever the clock of its sender says."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from ingestion_assets.entities.streams import day_of

NOW = datetime(2026, 5, 10, 23, 59, tzinfo=UTC)


def named(began: datetime) -> str:
    """A UUIDv7 made at that time."""
    return str(uuid.UUID(int=int(began.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62))


@pytest.mark.parametrize(
    ("ahead", "day"),
    [
        (timedelta(), "2026-05-10"),
        (timedelta(days=-3), "2026-05-07"),
        (timedelta(days=-8), "2026-05-10"),
        (timedelta(minutes=2), "2026-05-10"),
        (timedelta(days=5), "2026-05-10"),
    ],
)
def test_a_stream_belongs_to_the_day_it_began_but_never_to_one_that_is_to_come(
    ahead: timedelta, day: str
) -> None:
    assert day_of(named(NOW + ahead), now=NOW) == day
