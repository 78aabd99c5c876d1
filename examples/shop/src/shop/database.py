"""The shop's own tables beside those of its zones."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import sqlalchemy as sa

TABLES = """
    CREATE SCHEMA IF NOT EXISTS shop;
    CREATE TABLE IF NOT EXISTS shop.visits (id text PRIMARY KEY, page text, at timestamptz, seconds float8);
"""


@lru_cache(maxsize=1)
def _engine() -> sa.Engine:
    url = sa.make_url(os.environ["INGESTION_POSTGRES_URL"]).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, pool_pre_ping=True)
    with engine.begin() as connection:
        connection.execute(sa.text(TABLES))
    return engine


@contextmanager
def begin() -> Iterator[sa.Connection]:
    """A connection, within a transaction."""
    with _engine().begin() as connection:
        yield connection
