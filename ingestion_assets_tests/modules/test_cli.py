"""`ingestion sites …` as a user runs it, beside a front door that is up."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from ingestion_assets.stores.sealing import sealer
from ingestion_assets_tests.modules.front import Front, serving
from ingestion_assets_tests.modules.replay import body, module
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import clean_environment


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with serving(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url) as running:
        yield running


def sites(front: Front, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(front.settings.home, postgres_url=front.settings.postgres_url)
    command = [sys.executable, "-m", "ingestion_assets.cli", "sites", *arguments]
    return subprocess.run(
        command, env=environment | {"COLUMNS": "160"}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_site_from_its_creation_to_a_new_key(front: Front) -> None:
    hook = "https://hooks.example.com/town"
    made = sites(front, "create", "Town hall", "--url", "https://town.example.com", "--webhook", hook)
    assert made.returncode == 0, made.stderr
    first, key, secret, last = made.stdout.splitlines()
    assert (first.endswith(": Town hall"), last) == (True, "This is the only time these are shown.")
    site, key, secret = (
        first.partition(":")[0].removeprefix("Site "),
        key.removeprefix("API key: "),
        secret.removeprefix("Webhook secret: "),
    )
    with front.engine.connect() as connection:
        kept = connection.scalar(
            sa.text("SELECT webhook_secret FROM ingestion.sites WHERE id = :id"), {"id": site}
        )
    assert sealer(front.settings).open(kept) == secret

    modules = [module("token", "8.x-1.15"), module("views", "10.2.1", status=False)]
    with front.client(key) as client:
        assert client.post(f"/sites/{site}/modules/sync", json=body(modules)).status_code == 200
    listed = next(line for line in sites(front, "list").stdout.splitlines() if "Town hall" in line)
    for cell in (
        site,
        f"{site}-town-hall",
        "active",
        "10.2.1",
        "2026-01-01 00:00",
        "https://town.example.com",
    ):
        assert cell in listed
    assert "2 modules, 0 shown." in sites(front, "show", site).stdout
    shown = sites(front, "show", site, "--all").stdout
    rows = {line.split()[0]: line for line in shown.splitlines()}
    assert ("8.x-1.15" in rows["token"], "yes" in rows["token"], "no" in rows["views"]) == (True, True, True)
    assert "2 modules, 2 shown." in shown

    new = sites(front, "rotate-key", site, "--quiet").stdout.strip()
    assert new.startswith("ing_") and new != key
    with front.client(new) as client, front.client(key) as old:
        assert client.get(f"/sites/{site}").json()["name"] == "Town hall"
        wait_until(
            lambda: old.get(f"/sites/{site}").status_code == 401,
            seconds=20,
            what="the old key to be turned away",
        )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "99999"), 1, "ingestion sites list"),
        (("rotate-key", "99999"), 1, "There is no site 99999"),
        (("create", "x", "--webhook", "file:///etc/passwd"), 2, "http or https"),
    ],
)
def test_what_cannot_be_done_is_said(front: Front, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = sites(front, *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
