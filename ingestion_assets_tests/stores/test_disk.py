"""How long the disk lasts, from how it filled."""

import math
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.stores.disk import Disk, look
from ingestion_assets.stores.postgres import driver_url


def test_how_fast_the_disk_filled_says_how_long_it_lasts(fresh_postgres_url: str, tmp_path: Path) -> None:
    engine = sa.create_engine(driver_url(fresh_postgres_url, "psycopg"))
    hour_ago = sa.text("""
        UPDATE ingestion.disk_usage SET at = now() - make_interval(mins => :minutes), used_bytes = used_bytes - :grown
    """)
    with engine.begin() as connection:
        first = look(connection, tmp_path)
    assert first.days_left is None
    assert first.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    with engine.begin() as connection:
        connection.execute(hour_ago, {"minutes": 10, "grown": 0})
        assert look(connection, tmp_path).days_left is None, "ten minutes say little"
        connection.execute(sa.text("TRUNCATE ingestion.disk_usage"))
    with engine.begin() as connection:
        look(connection, tmp_path)
        connection.execute(hour_ago, {"minutes": 60, "grown": 10**12})
        seen = look(connection, tmp_path)
        assert seen.bytes_a_day == pytest.approx(24e12, rel=0.05)
        assert seen.days_left == pytest.approx(seen.free_bytes / 24e12, rel=0.05)
        assert connection.scalar(sa.text("SELECT count(*) FROM ingestion.disk_usage")) == 2
        look(connection, tmp_path)
        assert connection.scalar(sa.text("SELECT count(*) FROM ingestion.disk_usage")) == 2, "once in a while"
    engine.dispose()


def test_a_disk_that_does_not_fill_lasts_for_ever() -> None:
    assert Disk(10, -1.0).days_left == math.inf
