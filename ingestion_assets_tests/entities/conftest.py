"""A database for the entities flow, payloads as a run sees them, and a front door whose runs load."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
import uuid_utils

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.loading import load
from ingestion_assets.entities.work import EntitiesWork
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.clock import take_sample
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.tables import drops
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for

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
    return database.execute(f"SELECT {columns} FROM entities.{entity.table} ORDER BY {columns}").fetchall()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def loading(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door whose runs load each payload at once."""
    chosen = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)
    with serving(chosen) as front:

        def load(ref: DropRef) -> DropOutcome:
            """Of the whole claim, as parts of a stream settle each other; what is loaded already is remembered."""
            columns = [drops.c[name] for name in DropRef.__struct_fields__]
            with front.engine.connect() as connection:
                held = connection.scalar(sa.select(drops.c.claim).where(drops.c.id == ref.id)) or ""
                mine = sa.select(*columns).where(drops.c.claim == held, drops.c.state == "claimed")
                refs = [DropRef(**row._mapping) for row in connection.execute(mine.order_by(drops.c.id))] or [
                    ref
                ]
                clock = take_sample(connection)
            work = EntitiesWork(
                claim=Claim(held, held, (), tuple(refs), clock), storage=open_storage(chosen), engine=front.engine,
                entities=lambda: TPCH, max_bytes=2**28, is_transient=lambda _: False,
            )  # fmt: skip
            return next(outcome for outcome in work.outcomes() if outcome.drop_id == ref.id)

        front.runs.outcome = load
        yield front
