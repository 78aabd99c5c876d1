"""A front door with zones in force, whose runs finish at once, so what is tested is the way in; and a database for what runs do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.stores.postgres import driver_url
from ingestion_assets.zones import in_force, kept
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.runs import Runs

RECORD = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
Publish = Callable[..., None]


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with serving(settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)) as running:
        yield running


@pytest.fixture(scope="module")
def publish(front: Front) -> Publish:
    """Puts a zone in force, and returns once the front door knows it as it is now."""

    def put(name: str, *, secrets: tuple[str, ...] = (), **what: object) -> None:
        given = {"asset": "records", "schema": RECORD, "location": "shop", **what}
        document = ZoneDocument(name=name, **given)  # pyright: ignore[reportArgumentType]
        with front.engine.begin() as connection:
            in_force.publish(
                connection, document, secrets=secrets, settings=front.settings, prepare=lambda: None
            )

        def known() -> bool:
            with front.client() as client:
                found = client.get(f"/api/v1/zones/{name}")
            return found.status_code == 200 and found.json()["verify"] == (document.verify or {}).get("kind")

        wait_until(known, seconds=10, what=f"the front door to learn of {name}")

    return put


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    """A client with the admin's key."""
    with front.client() as client:
        yield client


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


@pytest.fixture
def runs(engine: sa.Engine, database: "psycopg.Connection[Any]", tmp_path: Path) -> Runs:
    """A zone with an empty ledger."""
    kept.prepare(engine)
    database.execute(
        "TRUNCATE ingestion.drops, ingestion.leases, ingestion.dispatches, zones.told, zones.keys CASCADE"
    )
    return Runs(engine, LocalStorage(tmp_path / "landing"))
