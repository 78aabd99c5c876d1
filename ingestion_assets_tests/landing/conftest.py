"""An empty ledger on the real PostgreSQL, and landing storage in a folder."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.stores.postgres import driver_url


@pytest.fixture
def engine(postgres_url: str):
    engine = sa.create_engine(driver_url(postgres_url, "psycopg"))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "TRUNCATE ingestion.drops, ingestion.leases, ingestion.dispatches, ingestion.landing_watermark, "
                "ingestion.retired_segments, ingestion.unreadable_segments CASCADE"
            )
        )
    yield engine
    engine.dispose()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "landing")
