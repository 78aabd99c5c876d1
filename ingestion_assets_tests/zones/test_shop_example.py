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
PAGE = (PROJECT / "docs" / "drop-zones.md").read_text(encoding="utf-8")
BY_FIXTURES = ("pip install ", "dg scaffold ", "ingestion up ")
"""Commands of the page that are done otherwise here: the built wheel is installed, the files are the example's, the stack is on free ports."""
SMALL = {"workers_gpu": 0, "workers_batch": 0, "lane_rest_s": 0}
BY_CONDITION = "dagster/from_automation_condition"
RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { jobName status assetSelection { path } tags { key } repositoryOrigin { repositoryLocationName } } } } }"


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

    def typed(self, command: str) -> str:
        """What lines of the page print, typed into a shell in the project's folder."""
        environment = {**self.stack.environment, "PATH": f"{self.bin}:{self.stack.environment['PATH']}"}
        command = command.replace("http://127.0.0.1:8080", self.stack.url)
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
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
    wheel = _wheel(folder / "first")
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", folder / "venv"), check=True)
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    shutil.copytree(
        EXAMPLE, folder / "shop", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    python = folder / "venv" / "bin" / "python"
    _install(python, wheel)
    _install(python, "--editable", folder / "shop")
    # After ours on the path, and without its editable installs: the package is that of the wheel.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    (python.parent / "dg").write_text(
        f'#!{python}\nfrom dagster_dg_cli.cli import main\nif __name__ == "__main__":\n    main()\n',
        encoding="utf-8",
    )
    (python.parent / "dg").chmod(0o755)
    return python.parent


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def _wheel(folder: Path, *, version: str | None = None) -> Path:
    """The package, built in `folder`; of another version than its own, if that is given."""
    source = folder / "source"
    shutil.copytree(
        PROJECT / "ingestion_assets",
        source / "ingestion_assets",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copyfile(PROJECT / "README.md", source / "README.md")
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    if version is not None:
        project = re.sub(r'(?m)^version = ".*"', f'version = "{version}"', project, count=1)
    (source / "pyproject.toml").write_text(project, encoding="utf-8")
    subprocess.run(
        (*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source), check=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def _install(python: Path, *what: str | Path) -> None:
    subprocess.run((*PIP, "--python", python, "install", "--no-deps", "--no-compile", *what), check=True)


@pytest.fixture(scope="module")
def shop(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Running. Its zones are in force."""
    folder = environment.parents[1] / "shop"
    home = tmp_path_factory.mktemp("home")
    with running_stack(home, python=str(environment / "python"), folder=folder, **SMALL) as stack:
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


def _blocks(*languages: str) -> list[str]:
    """What stands between the page's fences of these languages; of none, commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def test_the_page_shows_the_examples_files() -> None:
    yaml = (EXAMPLE / "src/shop/defs/orders/defs.yaml").read_text(encoding="utf-8")
    visits = (EXAMPLE / "src/shop/defs/visits.py").read_text(encoding="utf-8")
    blocks = _blocks("yaml", "python")
    assert yaml in blocks
    assert visits[visits.index("@drop_zone") :] in blocks
    for text in (yaml, visits[visits.index("@drop_zone") :]):
        assert text.count("\n") <= 25


def test_the_page_goes_as_it_is_written(shop: Shop) -> None:
    commands = [
        command
        for block in _blocks("")
        for command in block.replace("\\\n", "").splitlines()
        if not command.startswith(BY_FIXTURES)
    ]
    check, zones, until, keys, drop, *more = commands
    assert "successfully" in shop.typed(check)
    assert "orders: can be in force" in shop.typed(zones)
    assert "orders: POST /api/v1/drops/orders" in shop.typed(until)
    answer = json.loads(shop.typed(f"{keys}\n{drop}"))
    promised = next(json.loads(block) for block in _blocks("json") if "received" in block)
    (error,), (told,) = promised.pop("errors"), answer["errors"]
    assert promised.items() <= answer.items()
    assert error.items() <= told.items()
    for command in more:
        shop.typed(command)
    assert _revenue_runs(shop), "`dg launch` made it"


def _revenue_runs(shop: Shop) -> list[dict[str, Any]]:
    return [
        run
        for run in shop.runs()
        if run["status"] == "SUCCESS" and (run["assetSelection"] or [{}])[0].get("path") == ["revenue"]
    ]


def test_the_commands_of_dg_and_ours_work_in_the_project(shop: Shop) -> None:
    assert "orders/orders" in shop.command("dg", "list", "defs")
    assert "ingestion_assets.DropZone" in shop.command("dg", "list", "components")
    assert "shop.orders" not in shop.command("ingestion", "zones", "list")
    assert "location shop" in shop.command("ingestion", "zones", "show", "orders")


def test_the_package_is_that_of_the_wheel(shop: Shop) -> None:
    where = shop.command("python", "-c", "import ingestion_assets; print(ingestion_assets.__file__)")
    assert str(shop.bin.parent) in where


def test_records_become_rows_receipts_rejects_and_checks(shop: Shop) -> None:
    key = shop.command("ingestion", "keys", "create", "second-till", "--scope", "orders", "--quiet").strip()
    answer = shop.post(
        "orders",
        [_order(11), _order(12, currency="eur"), _order(11, updated_at="2020-01-01T00:00:00Z")],
        key=key,
    )
    assert answer.status_code == 200, answer.text
    counts = {
        name: answer.json()[name] for name in ("received", "stored", "duplicate", "superseded", "rejected")
    }
    assert counts == {"received": 3, "stored": 1, "duplicate": 0, "superseded": 1, "rejected": 1}
    assert answer.json()["errors"][0]["field"] == "currency"
    assert [str(one) for (one,) in shop.rows("SELECT amount FROM shop.orders WHERE id = '11'")] == ["12.50"]
    receipt = httpx.get(
        f"{shop.stack.url}/api/v1/receipts/{answer.headers['X-Receipt-Id']}/records", headers={"X-API-Key": key}, timeout=30
    ).json()["items"]  # fmt: skip
    assert [one["status"] for one in receipt] == ["stored", "rejected", "superseded"]
    failed = shop.command("ingestion", "checks", "run", "--select", "orders", "--fail-on", "warn", status=1)
    assert "reject_rate" in failed


def test_rejects_are_redriven_once_what_was_wrong_is_mended(shop: Shop) -> None:
    listed = shop.command("ingestion", "rejects", "list", "--flow", "orders", "--json").splitlines()
    (reject,) = [one for one in map(json.loads, listed) if one["code"] != "missing_field"]
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
    deadline = time.monotonic() + 120
    number = 100
    while not any({"key": BY_CONDITION} in run["tags"] for run in _revenue_runs(shop)):
        assert time.monotonic() < deadline, "no run of revenue"
        shop.post("orders", [_order(number)])  # the first evaluation only notes what is there
        number += 1
        time.sleep(5)


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
    newest = "SELECT state, attempts FROM ingestion.drops WHERE flow = 'orders' ORDER BY id DESC LIMIT 1"
    assert (waits.status_code, shop.rows(newest)[0][1]) == (202, 0)  # it waits, and that costs it no attempt
    place.write_text(before, encoding="utf-8")
    wait_until(lambda: not _zones(shop)["orders"]["refused"], seconds=60, what="the zone to be as it was")
    assert shop.post("orders", [_order(9000)]).json()["stored"] == 1
    wait_until(
        lambda: shop.rows("SELECT FROM shop.orders WHERE id = '8000'"),
        seconds=90,
        what="the payload that waited",
    )


@pytest.mark.skipif(os.environ.get("INGESTION_LONG_TESTS") != "1", reason="a second start of the stack: long")
def test_a_higher_version_takes_over_what_is_there(shop: Shop, environment: Path, tmp_path: Path) -> None:
    """The last one here: it ends the stack that the others use."""
    order = _order(1, id="kept")
    visit = {"id": "kept", "page": "/a", "at": "2026-01-31T09:30:00Z"}
    kept = shop.post("orders", [order])
    assert (kept.json()["stored"], shop.post("visits", visit).json()["stored"]) == (1, 1)
    counts = "SELECT (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM shop.visits), (SELECT count(*) FROM ingestion.drops), (SELECT count(*) FROM ingestion.rejects)"
    before = shop.rows(counts)
    shop.stack.process.terminate()
    shop.stack.process.wait(timeout=60)
    python = environment / "python"
    _install(python, _wheel(tmp_path, version="99.0.0"))
    with running_stack(shop.stack.home, python=str(python), folder=shop.folder, **SMALL) as stack:
        upgraded = Shop(shop.folder, environment, stack)
        headers = {"X-API-Key": stack.admin_token}
        assert httpx.get(f"{stack.url}/health", headers=headers, timeout=30).json()["version"] == "99.0.0"
        assert upgraded.rows(counts) == before
        wait_until(
            lambda: {"orders", "visits"} <= _zones(upgraded).keys(),
            seconds=60,
            what="the zones to be in force",
        )
        assert not _zones(upgraded)["orders"]["refused"]
        receipt = httpx.get(
            f"{stack.url}/api/v1/receipts/{kept.headers['X-Receipt-Id']}", headers=headers, timeout=30
        )
        assert receipt.json()["state"] == "done"
        again = upgraded.post("orders", [order, _order(2, id="new")]).json()
        assert (again["stored"], again["duplicate"]) == (1, 1)
        assert upgraded.post("visits", visit).json()["duplicate"] == 1
