"""A database for the entities flow, and payloads as a run sees them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import uuid_utils

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.loading import load
from ingestion_assets.landing.drops import LandedDrop

Load = Callable[..., list[Loaded]]


@pytest.fixture
def database(fresh_postgres_url: str) -> Iterator["psycopg.Connection[Any]"]:
    """A connection to a migrated database that belongs to the test."""
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        yield connection


def landed(body: bytes, **attributes: str) -> LandedDrop:
    """A payload, accepted now."""
    return LandedDrop(
        id=UUID(str(uuid_utils.uuid7())), flow="entities", partition="2026-01-01", lane="2026-01-01",
        principal="tester", subject=None, received_at=datetime.now(UTC), attributes=attributes, records=0, body=body,
    )  # fmt: skip


def load_drops(database: "psycopg.Connection[Any]", entities: EntitySet, *drops: LandedDrop) -> list[Loaded]:
    """Load some payloads in one transaction."""
    with database.transaction():
        return load(database, entities, drops, counted={drop.id for drop in drops})


def rows(database: "psycopg.Connection[Any]", entities: EntitySet, name: str) -> list[tuple[Any, ...]]:
    """All rows of an entity, without where they came from."""
    entity = entities.by_name[name]
    columns = ", ".join(entity.names)
    return database.execute(f"SELECT {columns} FROM entities.{entity.table} ORDER BY 1, 2").fetchall()  # type: ignore[arg-type]
