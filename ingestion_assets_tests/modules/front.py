"""A front door on real stores whose runs do the flow's real work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import structlog

from ingestion_assets.landing.storage import open_storage
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.server import create_app
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import served
from ingestion_assets_tests.modules.runs import DirectRuns

ADMIN = "test-admin-token"


@dataclass(frozen=True, slots=True)
class Front:
    """A running front door."""

    url: str
    engine: sa.Engine
    runs: DirectRuns
    settings: Settings

    def client(self, token: str | None = ADMIN) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self.url}/api/v1", headers={"X-API-Key": token} if token else {}, timeout=60
        )

    def site(self, **more: Any) -> tuple[int, str]:
        """A new site: its id and its key."""
        with self.client() as client:
            made = client.post("/sites", json={"name": "site", **more}).raise_for_status().json()
        return made["id"], made["api_key"]


@contextmanager
def serving(*, home: Path, postgres_url: str, **changes: Any) -> Iterator[Front]:
    """With the given settings, those of the flow as variables, which is where it reads them."""
    defaults = {
        "rate_limit": "",
        "webserver_url": "http://127.0.0.1:9",
        "admin_token": ADMIN,
        "default_wait_s": 20,
    }
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,  # as the front door has it: without the values of variables
            structlog.dev.ConsoleRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),  # not into what a command prints
    )
    of_flow = {
        f"INGESTION_{name.upper()}": changes.pop(name)
        for name in ModulesSettings.model_fields
        if name in changes
    }
    settings = Settings(_env_file=None, home=home, postgres_url=postgres_url, **{**defaults, **changes})
    own = engine(postgres_url)
    runs = DirectRuns(engine=own, storage=open_storage(settings))
    with environment(**of_flow), served(create_app(settings, launch=runs)) as url:
        yield Front(url, own, runs, settings)
