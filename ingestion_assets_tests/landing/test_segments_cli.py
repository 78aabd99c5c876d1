"""`ingestion segments`: what cannot be read is listed, and given up by name."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.landing.late_segments import register_late
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.storage import segment_path
from ingestion_assets.stores.postgres import driver_url


def test_segments_that_cannot_be_read_are_listed_and_given_up(
    fresh_postgres_url: str, tmp_path: Path
) -> None:
    storage = LocalStorage(tmp_path / "landing")
    path = segment_path(uuid_utils.compat.uuid7(), datetime.now(UTC))
    storage.write(path, b"no segment")
    engine = sa.create_engine(driver_url(fresh_postgres_url, "psycopg"))
    assert register_late(engine, storage).unreadable == (path,)
    engine.dispose()
    variables = {
        "INGESTION_HOME": str(tmp_path),
        "INGESTION_POSTGRES_URL": fresh_postgres_url,
        "COLUMNS": "300",
    }

    def segments(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ingestion_assets.cli", "segments", *arguments]
        return subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=120
        )

    listed = segments("list")
    assert listed.returncode == 0, listed.stderr
    assert path in listed.stdout
    assert "no header at byte 0" in listed.stdout
    given_up = segments("discard", path, "segments/other.seg")
    assert given_up.returncode == 1
    assert f"{path} is given up." in given_up.stdout
    assert "segments/other.seg is not among the unreadable segments" in given_up.stderr
    assert storage.read(f"discarded/{path}") == b"no segment"
    assert path not in segments("list").stdout
