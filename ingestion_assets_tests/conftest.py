"""Fixtures that all tests share: the real servers, started once per session and only when asked for."""

import functools
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psycopg
import pytest
import redis
import structlog
from httpx._transports import default as transports
from pymongo import MongoClient
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from ingestion_assets.stores.embedded import embedded_mongodb, embedded_postgres, embedded_valkey, free_port
from ingestion_assets.stores.postgres import engine, migrate
from ingestion_assets_tests.servers import running
from ingestion_assets_tests.stacks import SHORT_REST, RunningStack, running_stack

PROJECT = Path(__file__).parent.parent
WHOLE_STACKS = (
    "faults/",  # first: its stack ends with it, the session's lives on
    "browser/",
    "documents/test_walk.py",
    "end_to_end/",
    "entities/test_own_definitions.py",
    "entities/test_stack.py",
    "long_flow/test_long_runs.py",
    "modules/test_stack.py",
    "repositories/test_stack",
    "stack/",  # last: it kills the programs of the session's stack
)
"""What starts whole stacks. With several processes (`pytest -n 2`) all of it runs in one: a small machine carries few at once."""
LONGEST_OF_THE_OTHERS = ("zones/test_shop_example.py", "orchestration/")
"""What takes minutes beside those: it comes next, so that nobody waits for it in the end."""
RUN_BY_ONE_PROCESS = ("orchestration/",)
"""Folders of which no two files run at once: the system counts its kills for memory, not whom they hit, and tests of lost processes
would take those of the file beside for theirs."""
_TEMPLATE = "migrated_template"

hypothesis.settings.register_profile(
    "shared machine", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None
)
hypothesis.settings.load_profile("shared machine")
# Each client would read the certificates of all authorities anew, which takes 20 ms: tests make thousands of them.
transports.create_ssl_context = functools.cache(transports.create_ssl_context)
structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))  # what pytest has put there


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole stacks come first, being the longest; who shares one must be listed."""
    items.sort(
        key=lambda item: (_whole_stack(item.nodeid), not _path(item.nodeid).startswith(LONGEST_OF_THE_OTHERS))
    )
    unlisted = {
        item.nodeid.partition("::")[0]
        for item in items
        if "stack" in getattr(item, "fixturenames", ()) and _whole_stack(item.nodeid) == len(WHOLE_STACKS)
    }
    if unlisted:
        raise pytest.UsageError(f"{', '.join(sorted(unlisted))}: name them in {__name__}.WHOLE_STACKS")


def _whole_stack(test: str) -> int:
    """The place of a test, or of its file, in `WHOLE_STACKS`; the length of that if it is not there."""
    places = (place for place, of_stacks in enumerate(WHOLE_STACKS) if _path(test).startswith(of_stacks))
    return next(places, len(WHOLE_STACKS))


def _path(test: str) -> str:
    """Of its file below the folder of tests."""
    return test.partition("/")[2]


class _ByFile(LoadScopeScheduling):
    """Gives a process a file at a time, what belongs together as if it were one file, in the order of `items`."""

    def _split_scope(self, nodeid: str) -> str:
        if _whole_stack(nodeid) < len(WHOLE_STACKS):
            return "whole stacks"
        path = nodeid.partition("::")[0]
        return next((folder for folder in RUN_BY_ONE_PROCESS if f"/{folder}" in path), path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real inputs: `INGESTION_SHARED_DATA`, or `../shared/data` beside the project."""
    path = Path(os.environ.get("INGESTION_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real inputs: {path} is not a folder (set INGESTION_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the database `ingestion`, empty, of a PostgreSQL that lives as long as the session."""
    folder = tmp_path_factory.mktemp("postgres") / "server"
    server = embedded_postgres(folder=folder, port=free_port())
    # It gives hundreds of databases, and none outlives a power failure: those that must have servers of their own.
    server = replace(server, command=(*server.command, "--fsync=off", "--full_page_writes=off"))
    with running(server):
        yield server.url


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """Name of a database with the newest schema, to be copied."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    url = _with_database(postgres_server, _TEMPLATE)
    migrate(url)
    engine(url).dispose()
    return _TEMPLATE


def _fresh_database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _with_database(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def postgres_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """URL of a fresh, migrated database that belongs to the test module."""
    yield from _fresh_database(postgres_server, migrated_template)


@pytest.fixture
def fresh_postgres_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """URL of a fresh, migrated database that belongs to the single test."""
    yield from _fresh_database(postgres_server, migrated_template)


@pytest.fixture(scope="session")
def mongodb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a MongoDB server that lives as long as the session."""
    folder = tmp_path_factory.mktemp("mongodb") / "server"
    with running(embedded_mongodb(folder=folder, port=free_port())) as server:
        yield server.url


@pytest.fixture
def mongodb_database(mongodb_url: str) -> Iterator[str]:
    """Name of a MongoDB database that belongs to the single test."""
    name = f"test_{uuid.uuid4().hex}"
    yield name
    with MongoClient(mongodb_url) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey that lives as long as the session."""
    folder = tmp_path_factory.mktemp("valkey") / "server"
    with running(embedded_valkey(folder=folder, port=free_port())) as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """URL of the session's Valkey, emptied after the test."""
    yield redis_server
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def git_port() -> int:
    """Where a git server of the tests may listen, of which the stack is told."""
    return free_port()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, git_port: int) -> Iterator[RunningStack]:
    """The whole system, started by `ingestion up` on free ports, for the session."""
    folder = tmp_path_factory.mktemp("stack")
    settings = {
        "document_roots": folder / "reports", "repositories_private_hosts": f"http://127.0.0.1:{git_port}",
    }  # fmt: skip
    with running_stack(folder / "home", **settings, **SHORT_REST) as running:
        yield running
