"""Dagster's real webserver behind our guard, without the rest of a stack."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ingestion_assets.stores.embedded import free_port
from ingestion_assets.stores.privileges import bound_to_parent
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import clean_environment


@contextmanager
def webserver(home: Path, **settings: object) -> Iterator[str]:
    """Its address, within the block."""
    home.mkdir()
    (home / "workspace.yaml").write_text("load_from: []\n", encoding="utf-8")
    port = free_port()
    command = (
        *(sys.executable, "-m", "ingestion_assets.webserver", "--host", "127.0.0.1", "--port", str(port)),
        *("--workspace", str(home / "workspace.yaml"), "--dagster-log-level", "warning"),
    )
    environment = clean_environment(home, webserver_port=port, **settings) | {
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    with (home / "log.txt").open("wb") as output:
        process = subprocess.Popen(
            bound_to_parent(command, signal="KILL"), env=environment, stdout=output, stderr=output, cwd=home
        )

    def answers() -> bool:
        assert process.poll() is None, (home / "log.txt").read_text(encoding="utf-8")
        try:
            return httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, seconds=120, what="the webserver")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # how it stops is no matter here, and it takes five seconds for that
        process.wait()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that asks for no password, known in public as dagster.example.com and ui.example.net."""
    public = {
        "public_webserver_url": "https://dagster.example.com",
        "webserver_url": "http://webserver:3000",
        "webserver_hosts": "ui.example.net, other.example.net",
    }
    with webserver(tmp_path_factory.mktemp("bare") / "home", **public) as url:
        yield url


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that asks for the password `sesame`, and trusts a proxy at 127.0.0.2."""
    settings = {"webserver_password": "sesame", "webserver_proxies": "127.0.0.2/32"}
    with webserver(tmp_path_factory.mktemp("locked") / "home", **settings) as url:
        yield url
