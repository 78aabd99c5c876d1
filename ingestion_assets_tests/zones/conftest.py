"""A database, and rows as a run has them."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from ingestion_assets.stores.postgres import driver_url
from ingestion_assets.zones.records import Column, Kind
from ingestion_assets.zones.tables.target import Rows, Shape


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    """Sessions are elsewhere on Earth: what is stored must not depend on that."""
    made = sa.create_engine(
        driver_url(postgres_url, "psycopg"), connect_args={"options": "-c timezone=Asia/Tokyo"}
    )
    yield made
    made.dispose()


@pytest.fixture
def database(postgres_url: str) -> "Iterator[psycopg.Connection[Any]]":
    """A connection to a database in which the test's tables are gone afterwards."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")


def shape(*, key: str | None = "id", version: str | None = None, **columns: Kind) -> Shape:
    """A table of these columns, in which names that end with `_` stand for optional fields."""
    made = tuple(
        Column(name.rstrip("_"), kind, nullable=name.endswith("_")) for name, kind in columns.items()
    )
    return Shape(made, (key,) if key else (), version)


def rows(receipt: int, *values: tuple[Any, ...], first: int = 0) -> Rows:
    """The rows of a payload; those with a greater number were accepted later."""
    return Rows(values, [UUID(int=receipt)] * len(values), range(first, first + len(values)))


def statuses(stored: Sequence[Any]) -> list[str]:
    return [one.status for one in stored]
