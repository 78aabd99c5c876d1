"""A whole front door on real stores; only the orchestrator is stood in for, by runs that finish at once."""

import os
import resource
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from ingestion_assets.frontdoor.app import FrontDoorApp
from ingestion_assets.frontdoor.keys import create_key
from ingestion_assets.frontdoor.protocol import GuardedProtocol
from ingestion_assets.frontdoor.websocket_protocol import websocket_options
from ingestion_assets.installed_flows import known_scopes
from ingestion_assets.server import create_app
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.frontdoor.instant_runs import InstantRuns
from ingestion_assets_tests.servers import wait_until

ADMIN_TOKEN = "test-admin-token"
PROJECT = Path(__file__).parents[2]


class Front:
    """A running front door: its address, its database, its runs, and ways to make keys and clients."""

    def __init__(
        self, *, url: str, engine: sa.Engine, runs: InstantRuns, settings: Settings, app: FrontDoorApp
    ) -> None:
        self.url = url
        self.engine = engine
        self.runs = runs
        self.settings = settings
        self.app = app

    def key(self, *scopes: str, **options: object) -> str:
        with self.engine.begin() as connection:
            return create_key(
                connection, name=f"key-{uuid.uuid4().hex}", scopes=scopes, known=known_scopes(), **options
            )[1]

    def client(self, token: str | bytes | None = ADMIN_TOKEN, **options: object) -> httpx.Client:
        headers = {"X-API-Key": token} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)


def settings_for(*, home: Path, postgres_url: str, **changes: object) -> Settings:
    defaults = {
        "rate_limit": "",
        "webserver_url": "http://127.0.0.1:9",
        "admin_token": ADMIN_TOKEN,
        "default_wait_s": 10,
    }
    return Settings(_env_file=None, home=home, postgres_url=postgres_url, **{**defaults, **changes})


@contextmanager
def serving(settings: Settings) -> Iterator[Front]:
    """A front door in a thread of this process."""
    own = engine(settings.require("postgres_url"))
    runs = InstantRuns(engine=own)
    app = create_app(settings, launch=runs)
    with served(app) as url:
        yield Front(url=url, engine=own, runs=runs, settings=settings, app=app)


@contextmanager
def served(app: FrontDoorApp, *, port: int = 0) -> Iterator[str]:
    """The address, at this port or any, at which a thread of this process serves `app`, as the front door's process would."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=GuardedProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            **websocket_options(),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(
                lambda: server.started or not thread.is_alive(), seconds=20, what="the front door to start"
            )
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door of the test module; nothing but PostgreSQL and landing storage behind it."""
    with serving(settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)) as running:
        yield running


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    """A client with the admin's key."""
    with front.client() as client:
        yield client


@contextmanager
def process(
    *,
    home: Path,
    postgres_url: str,
    limits: tuple[int, int] | None = None,
    health: str = "ready",
    **environment: str,
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A front door as a process of its own, with instant runs; its address. `limits`: of open files, soft and hard.

    `health`: what it is waited for to say, `ready` or, where there is no ledger, `live`.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {
        "INGESTION_HOME": str(home), "INGESTION_POSTGRES_URL": postgres_url, "INGESTION_PORT": str(port),
        "INGESTION_ADMIN_TOKEN": ADMIN_TOKEN, "INGESTION_RATE_LIMIT": "", "INGESTION_WEBSERVER_URL": "http://127.0.0.1:9",
        **environment,
    }  # fmt: skip
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "ingestion_assets_tests.frontdoor.serve"],
            cwd=PROJECT, env={**os.environ, **variables}, stdout=log, stderr=log,
        )  # fmt: skip
    if limits is not None:  # long before it has imported what looks at them
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, limits)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            lambda: child.poll() is not None or ready(url, health), seconds=60, what="the front door to start"
        )
        assert child.poll() is None, (home / "server.log").read_text()
        yield child, url
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def ready(url: str, health: str = "ready") -> bool:
    try:
        return httpx.get(f"{url}/health/{health}", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


Predicate = Callable[[], object]
