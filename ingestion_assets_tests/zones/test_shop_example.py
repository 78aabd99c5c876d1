"""`examples/shop`, installed beside the built wheel into an environment of its own and run by `ingestion up`, as docs/drop-zones.md goes."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "shop"
RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { jobName status assetSelection { path } repositoryOrigin { repositoryLocationName } } } } }"


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop's project in `folder`, its environment's programs, and the stack that runs it."""

    folder: Path
    bin: Path
    stack: RunningStack

    @property
    def code(self) -> Path:
        return self.folder / "src" / "shop"

    def command(self, *words: str, status: int = 0) -> str:
        """What a command prints, run in the project's folder."""
        done = subprocess.run(
            [self.bin / words[0], *words[1:]], cwd=self.folder, env=self.stack.environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def post(
        self, zone: str, content: Any, *, key: str | None = None, media_type: str = "application/json"
    ) -> httpx.Response:
        body = content if isinstance(content, str | bytes) else json.dumps(content)
        headers = {"X-API-Key": key or self.stack.admin_token, "Content-Type": media_type}
        return httpx.post(f"{self.stack.url}/api/v1/drops/{zone}", content=body, headers=headers, timeout=60)

    def rows(self, query: str) -> Sequence[Any]:
        with psycopg.connect(self.stack.environment["INGESTION_POSTGRES_URL"]) as connection:
            return connection.execute(query.encode()).fetchall()

    def runs(self) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.stack.dagster_url}/graphql", json={"query": RUNS}, timeout=30)
        return answer.raise_for_status().json()["data"]["runsOrError"]["results"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the built wheel and the shop's; what both depend on is that of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    source = folder / "source"
    shutil.copytree(
        PROJECT / "ingestion_assets",
        source / "ingestion_assets",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "README.md"):
        shutil.copyfile(PROJECT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    subprocess.run((*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", source), check=True)
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", folder / "venv"), check=True)
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    (wheel,) = folder.glob("wheels/*.whl")
    shutil.copytree(
        EXAMPLE, folder / "shop", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    python = folder / "venv" / "bin" / "python"
    install = (*pip, "--python", python, "install", "--no-deps")
    subprocess.run((*install, wheel), check=True)
    subprocess.run((*install, "--editable", folder / "shop"), check=True)
    # After ours on the path, and without its editable installs: the package is that of the wheel.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    (python.parent / "dg").write_text(
        f"#!{python}\nfrom dagster_dg_cli.cli import main\nmain()\n", encoding="utf-8"
    )
    (python.parent / "dg").chmod(0o755)
    return python.parent


@pytest.fixture(scope="module")
def shop(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Running. Its zones are in force."""
    folder = environment.parents[1] / "shop"
    home = tmp_path_factory.mktemp("home")
    with running_stack(
        home, python=str(environment / "python"), folder=folder, workers_gpu=0, workers_batch=0, lane_rest_s=0
    ) as stack:
        running = Shop(folder, environment, stack)
        wait_until(
            lambda: {"orders", "visits"} <= _zones(running).keys(),
            seconds=60,
            what="the zones to be in force",
        )
        yield running


def _zones(shop: Shop) -> Mapping[str, Any]:
    answer = httpx.get(
        f"{shop.stack.url}/api/v1/zones", headers={"X-API-Key": shop.stack.admin_token}, timeout=30
    )
    return {one["name"]: one for one in answer.raise_for_status().json()["items"]}


def _pattern(shop: Shop) -> str:
    headers = {"X-API-Key": shop.stack.admin_token}
    shown = httpx.get(f"{shop.stack.url}/api/v1/zones/orders", headers=headers, timeout=30).json()
    return shown["record"]["properties"]["currency"]["pattern"]


def _order(number: int, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"id": str(number), "customer": "c1", "amount": "12.50", "updated_at": now, **changes}


def test_the_page_shows_the_examples_files() -> None:
    page = (PROJECT / "docs" / "drop-zones.md").read_text(encoding="utf-8")
    yaml = (EXAMPLE / "src/shop/defs/orders/defs.yaml").read_text(encoding="utf-8")
    visits = (EXAMPLE / "src/shop/defs/visits.py").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:yaml|python)\n(.*?)```", page, re.DOTALL)
    assert yaml in blocks
    assert visits[visits.index("@drop_zone") :] in blocks
    for text in (yaml, visits[visits.index("@drop_zone") :]):
        assert text.count("\n") <= 25


def test_the_commands_of_dg_and_ours_work_in_the_project(shop: Shop) -> None:
    assert "successfully" in shop.command("dg", "check", "defs")
    assert "orders/orders" in shop.command("dg", "list", "defs")
    assert "ingestion_assets.DropZone" in shop.command("dg", "list", "components")
    assert "orders: can be in force" in shop.command("ingestion", "zones", "check")
    assert "shop.orders" not in shop.command("ingestion", "zones", "list")
    assert "location shop" in shop.command("ingestion", "zones", "show", "orders")


def test_the_package_is_that_of_the_wheel(shop: Shop) -> None:
    where = shop.command("python", "-c", "import ingestion_assets; print(ingestion_assets.__file__)")
    assert str(shop.bin.parent) in where


def test_records_become_rows_receipts_rejects_and_checks(shop: Shop) -> None:
    key = shop.command("ingestion", "keys", "create", "till", "--scope", "orders", "--quiet").strip()
    answer = shop.post(
        "orders",
        [_order(1), _order(2, currency="eur"), _order(1, updated_at="2020-01-01T00:00:00Z")],
        key=key,
    )
    assert answer.status_code == 200, answer.text
    counts = {
        name: answer.json()[name] for name in ("received", "stored", "duplicate", "superseded", "rejected")
    }
    assert counts == {"received": 3, "stored": 1, "duplicate": 0, "superseded": 1, "rejected": 1}
    assert answer.json()["errors"][0]["field"] == "currency"
    assert [str(one) for (one,) in shop.rows("SELECT amount FROM shop.orders WHERE id = '1'")] == ["12.50"]
    receipt = httpx.get(
        f"{shop.stack.url}/api/v1/receipts/{answer.headers['X-Receipt-Id']}/records", headers={"X-API-Key": key}, timeout=30
    ).json()["items"]  # fmt: skip
    assert [one["status"] for one in receipt] == ["stored", "rejected", "superseded"]
    failed = shop.command("ingestion", "checks", "run", "--select", "orders", "--fail-on", "warn", status=1)
    assert "reject_rate" in failed


def test_rejects_are_redriven_once_what_was_wrong_is_mended(shop: Shop) -> None:
    listed = shop.command("ingestion", "rejects", "list", "--flow", "orders", "--json").splitlines()
    (reject,) = [json.loads(line) for line in listed]
    place = shop.code / "models.py"
    before = place.read_text(encoding="utf-8")
    place.write_text(before.replace("[A-Z]{3}", "[A-Za-z]{3}"), encoding="utf-8")
    wait_until(lambda: "a-z" in _pattern(shop), seconds=60, what="the zone to take lower-case currencies")
    shop.command("ingestion", "rejects", "redrive", reject["id"])
    wait_until(
        lambda: shop.rows("SELECT FROM shop.orders WHERE currency = 'eur'"),
        seconds=60,
        what="the reject to be stored",
    )


def test_visits_go_to_the_function_once_each(shop: Shop) -> None:
    lines = "id,page,at,seconds\nv1,/a,2026-01-31T09:30:00Z,1.5\nv2,nope,2026-01-31T09:30:00Z,2\nv1,/a,2026-01-31T09:30:00Z,1\n"
    answer = shop.post("visits", lines, media_type="text/csv").json()
    assert (answer["stored"], answer["duplicate"], answer["rejected"]) == (1, 1, 1)
    again = shop.post("visits", '{"id": "v1", "page": "/b", "at": "2026-01-31T09:30:00Z"}').json()
    assert (again["stored"], again["duplicate"]) == (0, 1)
    assert shop.rows("SELECT id, page, seconds FROM shop.visits") == [("v1", "/a", 1.5)]


def test_assets_downstream_are_made_anew(shop: Shop) -> None:
    def made() -> bool:
        return any(
            run["status"] == "SUCCESS" and (run["assetSelection"] or [{}])[0].get("path") == ["revenue"]
            for run in shop.runs()
        )

    deadline = time.monotonic() + 120
    number = 100
    while not made():
        assert time.monotonic() < deadline, "no run of revenue"
        shop.post("orders", [_order(number)])  # the first evaluation only notes what is there
        number += 1
        time.sleep(2)


def test_a_new_zone_takes_payloads_within_30_seconds_of_being_saved(shop: Shop) -> None:
    folder = shop.code / "defs" / "returns"
    folder.mkdir()
    (folder / "record.json").write_text(
        '{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}', encoding="utf-8"
    )
    (folder / "defs.yaml").write_text(
        "type: ingestion_assets.DropZone\nattributes:\n  name: returns\n  records: {schema: record.json}\n  key: id\n  table: {postgres: shop.returns}\n",
        encoding="utf-8",
    )
    began = time.monotonic()
    wait_until(lambda: shop.post("returns", {"id": "r1"}).status_code == 200, seconds=60, what="the zone")
    print(f"from saving to the first answer: {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("program", ["worker-default", "frontdoor", "postgres", "code-server-shop"])
def test_nothing_is_lost_or_doubled_when_a_process_is_killed(shop: Shop, program: str) -> None:
    rng = random.Random(program)
    ids = [f"{program}-{number}" for number in range(60)]
    receipts: list[str] = []
    headers = {
        "X-API-Key": shop.stack.admin_token,
        "Content-Type": "application/json",
        "Prefer": "respond-async",
    }
    at = rng.randrange(10, 50)
    with httpx.Client(base_url=shop.stack.url, headers=headers, timeout=30) as client:
        for number, order in enumerate(ids):
            if number == at:
                os.kill(shop.stack.pid_of(program), signal.SIGKILL)
            body = json.dumps([_order(0, id=order)])

            def taken(body: str = body, order: str = order) -> bool:
                try:
                    answer = client.post(
                        "/api/v1/drops/orders", content=body, headers={"Idempotency-Key": order}
                    )
                except httpx.HTTPError:
                    return False
                if answer.status_code == 202:
                    receipts.append(answer.json()["id"])
                return answer.status_code == 202

            wait_until(taken, seconds=60, what="the payload to be taken")

    def outcomes() -> Sequence[Any]:
        try:
            return shop.rows(
                f"SELECT state, result ->> 'stored' FROM ingestion.drops WHERE idempotency_key LIKE '{program}-%'"
            )
        except psycopg.Error:
            return []

    wait_until(
        lambda: len(found := outcomes()) == 60 and all(state == "done" for state, _ in found),
        seconds=120,
        what="all outcomes",
    )
    assert [stored for _, stored in outcomes()] == ["1"] * 60
    assert shop.rows(f"SELECT count(*), count(DISTINCT id) FROM shop.orders WHERE id LIKE '{program}-%'") == [
        (60, 60)
    ]
    assert len(set(receipts)) == 60


def test_a_change_that_could_lose_data_is_refused_and_the_zone_stays(shop: Shop) -> None:
    place = shop.code / "defs/orders/defs.yaml"
    before = place.read_text(encoding="utf-8")
    place.write_text(before.replace("key: id", "key: customer"), encoding="utf-8")
    wait_until(lambda: _zones(shop)["orders"]["refused"], seconds=60, what="the refusal")
    assert "shop.orders" in _zones(shop)["orders"]["refused"]
    headers = {"X-API-Key": shop.stack.admin_token, "Prefer": "wait=5"}
    waits = httpx.post(
        f"{shop.stack.url}/api/v1/drops/orders", json=[_order(8000)], headers=headers, timeout=60
    )
    assert (waits.status_code, waits.json()["attempts"]) == (202, 0)  # it waits, and that costs it no attempt
    place.write_text(before, encoding="utf-8")
    wait_until(lambda: not _zones(shop)["orders"]["refused"], seconds=60, what="the zone to be as it was")
    assert shop.post("orders", [_order(9000)]).json()["stored"] == 1
    wait_until(
        lambda: shop.rows("SELECT FROM shop.orders WHERE id = '8000'"),
        seconds=90,
        what="the payload that waited",
    )
