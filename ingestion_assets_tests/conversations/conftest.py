"""The two stores of the flow, empty, for tests of its work modules."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.stores import mongo, postgres


@pytest.fixture
def database(mongodb_url: str, mongodb_database: str) -> Database[Any]:
    """A MongoDB database that belongs to the test."""
    return mongo.database(mongodb_url, name=mongodb_database)


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    """A migrated PostgreSQL database that belongs to the test."""
    made = postgres.engine(fresh_postgres_url)
    yield made
    made.dispose()
