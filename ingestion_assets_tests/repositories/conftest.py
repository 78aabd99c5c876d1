"""A migrated database with the flow's own tables, a front door on it, a git server for the stack, and repositories that mean harm."""

import base64
import os
import subprocess
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from ingestion_assets.repositories.flow import NAME
from ingestion_assets.stores import postgres
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.repositories.git_server import Server, all_kinds, answering
from ingestion_assets_tests.stacks import RunningStack

CREDENTIAL = "somebody:a-token-that-nobody-may-see"
LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"


def basic(credential: str) -> str:
    """What a client sends that has this credential."""
    return f"Basic {base64.b64encode(credential.encode()).decode()}"


def make_tables(url: str) -> None:
    """The flow's tables in a migrated database."""
    with as_file(files("ingestion_assets.repositories") / "migrations") as revisions:
        postgres.migrate_flow(NAME, revisions, url=url)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str, migrated_template: str) -> str:
    """Name of the database that tests here copy: it has the flow's tables."""
    name = f"{migrated_template}_{NAME}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    url = sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    make_tables(url)
    postgres.engine(url).dispose()
    return name


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    made = postgres.engine(fresh_postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def front(fresh_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door whose runs are lost: what is submitted waits."""
    settings = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=fresh_postgres_url)
    with serving(settings) as running:
        running.runs.pause()
        yield running


@pytest.fixture(scope="session")
def hostile(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile and odd repositories."""
    script = shared_data / "repositories" / "make_hostile.sh"
    if not script.is_file():
        pytest.skip(f"no hostile repositories: {script} is not there")
    folder = tmp_path_factory.mktemp("hostile")
    large = ["big"] if LONG else []
    subprocess.run(["/bin/bash", str(script), str(folder), *large], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose repositories the git server of the stack has."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="package")
def server(served: Path, git_port: int) -> Iterator[Server]:
    """A git server on this machine, which the stack is told of."""
    with answering(all_kinds(served, credential=basic(CREDENTIAL)), port=git_port) as running:
        yield running


@pytest.fixture(scope="package")
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=60) as client:
        yield client
