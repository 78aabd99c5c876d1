"""A migrated database with the flow's own tables, a front door on it, and repositories that mean harm."""

import subprocess
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.repositories.flow import NAME
from ingestion_assets.stores import postgres
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for


def make_tables(url: str) -> None:
    """The flow's tables in a migrated database."""
    with as_file(files("ingestion_assets.repositories") / "migrations") as revisions:
        postgres.migrate_flow(NAME, revisions, url=url)


@pytest.fixture
def postgres_with_tables(fresh_postgres_url: str) -> str:
    """URL of a database that belongs to the test and has the flow's tables."""
    make_tables(fresh_postgres_url)
    return fresh_postgres_url


@pytest.fixture
def engine(postgres_with_tables: str) -> Iterator[sa.Engine]:
    made = postgres.engine(postgres_with_tables)
    yield made
    made.dispose()


@pytest.fixture
def front(postgres_with_tables: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door whose runs are lost: what is submitted waits."""
    settings = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_with_tables)
    with serving(settings) as running:
        running.runs.paused.set()
        yield running


@pytest.fixture(scope="session")
def hostile(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile and odd repositories."""
    script = shared_data / "repositories" / "make_hostile.sh"
    if not script.is_file():
        pytest.skip(f"no hostile repositories: {script} is not there")
    folder = tmp_path_factory.mktemp("hostile")
    subprocess.run(["/bin/bash", str(script), str(folder), "big"], check=True, capture_output=True)
    return folder
