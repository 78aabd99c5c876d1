"""A migrated database with the flow's own tables."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from ingestion_assets.stores import postgres
from ingestion_assets_tests.documents.fronts import make_tables


@pytest.fixture
def documents_url(fresh_postgres_url: str) -> str:
    """URL of a database that belongs to the test and has the flow's tables."""
    make_tables(fresh_postgres_url)
    return fresh_postgres_url


@pytest.fixture
def engine(documents_url: str) -> Iterator[sa.Engine]:
    made = postgres.engine(documents_url)
    yield made
    made.dispose()
