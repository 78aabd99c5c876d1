"""How long the disk lasts, from how it filled."""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.stores.disk import Disk, look
from ingestion_assets.stores.postgres import driver_url

GB = 10**9
_SEEN = sa.text("""
    INSERT INTO ingestion.disk_usage (place, at, used_bytes, free_bytes)
    SELECT place, now() - make_interval(mins => :minutes), used_bytes - :less, free_bytes + :less
    FROM ingestion.disk_usage ORDER BY at DESC LIMIT 1
""")


@pytest.fixture
def connection(fresh_postgres_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(driver_url(fresh_postgres_url, "psycopg"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def filled(
    connection: sa.Connection, folder: Path, *, hours: float, to_come: Callable[[float], float]
) -> Disk:
    """The disk after it was looked at every ten minutes for so long. `to_come`: GB that were not there yet, by hours ago."""
    connection.execute(sa.text("TRUNCATE ingestion.disk_usage"))
    look(connection, folder)
    for minutes in range(10, round(hours * 60) + 1, 10):
        connection.execute(_SEEN, {"minutes": minutes, "less": round(to_come(minutes / 60) * GB)})
    return look(connection, folder)


def test_how_fast_the_disk_filled_says_how_long_it_lasts(connection: sa.Connection, tmp_path: Path) -> None:
    steady = filled(connection, tmp_path, hours=12, to_come=lambda ago: ago * 2)
    assert steady.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert steady.bytes_a_day == pytest.approx(48 * GB, rel=0.05)
    assert steady.days_left == pytest.approx(steady.free_bytes / (48 * GB), rel=0.05)
    nightly = filled(
        connection, tmp_path, hours=71, to_come=lambda ago: sum(100 for night in (10, 34, 58) if ago > night)
    )
    assert nightly.bytes_a_day == pytest.approx(200 * GB / 69 * 24, rel=0.1), (
        "what comes back each day counts"
    )


def test_a_fresh_installation_and_a_burst_of_an_hour_say_nothing_of_the_days_to_come(
    connection: sa.Connection, tmp_path: Path
) -> None:
    assert look(connection, tmp_path).days_left is None
    assert filled(connection, tmp_path, hours=2, to_come=lambda ago: 10 * ago).days_left is None
    installed = filled(connection, tmp_path, hours=7, to_come=lambda ago: max(0.0, 20 * (ago - 6)))
    assert installed.bytes_a_day == pytest.approx(0, abs=GB), "the first hour, once there is something to say"
    burst = filled(connection, tmp_path, hours=24, to_come=lambda ago: min(60.0, 60 * max(0.0, ago - 3.2)))
    assert burst.bytes_a_day == pytest.approx(0, abs=GB)
    just_now = filled(connection, tmp_path, hours=24, to_come=lambda ago: min(60.0, 60 * ago))
    assert just_now.bytes_a_day == pytest.approx(0, abs=GB)


def test_what_was_seen_is_kept_once_in_a_while_and_for_days(
    connection: sa.Connection, tmp_path: Path
) -> None:
    filled(connection, tmp_path, hours=80, to_come=lambda _ago: 0)
    gone = "INSERT INTO ingestion.disk_usage VALUES ('a container that is gone', now() - interval '4 days', 1, 1)"
    connection.execute(sa.text(gone))
    look(connection, tmp_path)
    kept = connection.execute(sa.text("SELECT count(*), now() - min(at) FROM ingestion.disk_usage")).one()
    assert kept[0] == 72 * 6 + 1
    assert kept[1].days <= 3


def test_a_disk_that_does_not_fill_lasts_for_ever() -> None:
    assert Disk(10, -1.0).days_left == math.inf
