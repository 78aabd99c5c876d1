"""A migrated database with the flow's own tables."""

from collections.abc import Iterator
from importlib.resources import as_file, files

import pytest
import sqlalchemy as sa

from ingestion_assets.stores import postgres


def make_tables(url: str) -> None:
    """The flow's tables; those of the repositories too, which the sweeps of a front door look at."""
    for name in ("documents", "repositories"):
        with as_file(files(f"ingestion_assets.{name}") / "migrations") as revisions:
            postgres.migrate_flow(name, revisions, url=url)


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
