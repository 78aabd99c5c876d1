"""A migrated database with the flow's own tables."""

from collections.abc import Iterator
from importlib.resources import as_file, files

import pytest
import sqlalchemy as sa

from ingestion_assets.stores import postgres


@pytest.fixture
def documents_url(fresh_postgres_url: str) -> str:
    """URL of a database that belongs to the test and has the flow's tables."""
    with as_file(files("ingestion_assets.documents") / "migrations") as revisions:
        postgres.migrate_flow("documents", revisions, url=fresh_postgres_url)
    return fresh_postgres_url


@pytest.fixture
def engine(documents_url: str) -> Iterator[sa.Engine]:
    made = postgres.engine(documents_url)
    yield made
    made.dispose()
