"""`docs/adding-a-flow.md`, followed literally: its files become a package outside the project, whose flow a stack takes on."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingestion_assets.installed_flows import GROUP
from ingestion_assets.landing.flows import Flow, Keys, Runs
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack, running_stack

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-flow.md"
FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BROKEN = "from ingestion_assets.landing.flows import Flow\n\nFLOW = Flow(name='entities', definitions='nowhere:at_all')\n"
ASSET = """
query ($path: [String!]!) {
  assetOrError(assetKey: {path: $path}) {
    ... on Asset { assetMaterializations(limit: 5) { partition metadataEntries { label ... on IntMetadataEntry { intValue } } } }
  }
}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an installer leaves it: the package of the page, and the entry points that its project names."""
    files = dict(FILE.findall(PAGE.read_text(encoding="utf-8")))
    assert len(files) >= 9, sorted(files)
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    folder = tmp_path_factory.mktemp("site-packages")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][GROUP].items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}", encoding="utf-8")
    (folder / "example_broken.py").write_text(BROKEN, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def stack_with_notes(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        home = tmp_path_factory.mktemp("stack") / "home"
        with running_stack(
            home, flows="example_broken", notes_longest=20, workers_gpu=0, workers_batch=0
        ) as running:
            yield running


def test_the_page_names_all_that_a_flow_may_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [
        one.name for kind in (Flow, Runs, Keys) for one in fields(kind) if f"`{one.name}" not in page
    ] == []


def ingestion(stack: RunningStack, *arguments: str) -> str:
    done = subprocess.run(
        (sys.executable, "-m", "ingestion_assets.cli", *arguments),
        env=stack.environment | {"COLUMNS": "200"}, cwd=stack.home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def note(text: str = "hello") -> dict[str, str]:
    return {"id": str(uuid4()), "text": text}


@pytest.mark.slow
def test_a_flow_of_another_package_goes_the_whole_way(stack_with_notes: RunningStack) -> None:
    stack = stack_with_notes
    token = ingestion(stack, "keys", "create", "notes-key", "--scope", "notes", "--quiet").strip()
    with httpx.Client(
        base_url=stack.url, headers={"X-API-Key": token, "Prefer": "wait=120"}, timeout=150
    ) as client:
        first, too_long = note(), note("x" * 21)
        answer = client.post("/api/v1/notes", json=[first, first, too_long])
        assert (answer.status_code, answer.json()) == (200, {"stored": 1, "duplicate": 1, "rejected": 1}), (
            answer.text
        )
        receipt = client.get(f"/api/v1/receipts/{answer.headers['X-Receipt-Id']}").raise_for_status().json()
        assert (receipt["state"], receipt["flow"], receipt["records"]) == ("done", "notes", 3)
        assert client.post("/api/v1/notes", json={"no": "array"}).status_code == 422
        assert client.post("/api/v1/ingest/message", json={}).status_code == 403, "the key is for notes alone"

        inbox = stack.home / "landing" / "notes" / "inbox"
        inbox.mkdir(parents=True, exist_ok=True)
        (inbox / "some.json").write_text(json.dumps([note()]), encoding="utf-8")
        (inbox / "none.json").write_text("{}", encoding="utf-8")
        wait_until(lambda: _stored(stack) == 2, seconds=240, what="the inbox file to be stored")
        refused = stack.home / "landing" / "notes" / "refused"
        wait_until(
            lambda: list(refused.rglob("none.json.reason.txt")), seconds=120, what="the other to be refused"
        )

        outcomes = {("message", "stored"): 2, ("message", "duplicate"): 1, ("message", "rejected"): 1}
        wait_until(lambda: _counted(client) == outcomes, seconds=60, what=f"the metrics to count {outcomes}")
        assert "/api/v1/notes" in client.get("/openapi.json").json()["paths"]
        health = client.get("/health").json()
        assert "notes" in health["flows"]
        assert [said for said in health["left_out"] if "the name 'entities' is taken" in said], health

    new = [_new(one) for one in _materializations(stack, "notes", "notes")]
    assert sum(new) == 2
    rejects = ingestion(stack, "rejects", "list", "--flow", "notes")
    assert "invalid_note" in rejects
    assert "at most 20 characters" in rejects
    assert ingestion(stack, "notes").strip() == "2"
    assert "notes" in ingestion(stack, "retention", "--days", "0")
    assert "| `INGESTION_NOTES_LONGEST` | `2000` |" in ingestion(stack, "settings")


def _counted(client: httpx.Client) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["entity"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "ingestion_messages_total" and sample.labels["flow"] == "notes"
    }


def _stored(stack: RunningStack) -> int:
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM notes.notes").fetchone()
    assert row is not None
    return row[0]


def _materializations(stack: RunningStack, *path: str) -> list[dict[str, Any]]:
    answer = httpx.post(
        f"{stack.dagster_url}/graphql", json={"query": ASSET, "variables": {"path": path}}, timeout=30
    )
    return answer.raise_for_status().json()["data"]["assetOrError"]["assetMaterializations"]


def _new(materialization: dict[str, Any]) -> int:
    return next(one["intValue"] for one in materialization["metadataEntries"] if one["label"] == "new")
