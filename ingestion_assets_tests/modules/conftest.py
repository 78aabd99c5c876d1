"""A migrated database and ways to make sites and syncs in it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from ingestion_assets.stores import postgres


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    """A migrated PostgreSQL database that belongs to the test."""
    made = postgres.engine(fresh_postgres_url)
    yield made
    made.dispose()
