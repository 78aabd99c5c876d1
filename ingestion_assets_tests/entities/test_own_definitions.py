"""A new entity is a YAML file and nothing else: a running stack takes it up, and leaves faulty ones alone."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingestion_assets_tests.entities.definitions import WORKSHOP_FOLDER
from ingestion_assets_tests.entities.own_definitions import (
    SITE,
    TPCH,
    assets,
    definitions_folder,
    health,
    send,
)
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def folder(stack: RunningStack) -> Iterator[Path]:
    with definitions_folder(stack) as folder:
        yield folder


def test_new_entity_is_a_file_on_a_running_stack(stack: RunningStack, folder: Path) -> None:
    shutil.copy(WORKSHOP_FOLDER / "site.yaml", folder)
    wait_until(lambda: "Site" in health(stack)["entities"], seconds=30, what="the entity to be active")
    answer = send(stack, SITE % 7)  # whether or not the UI knows of it yet
    assert answer.json()["id"] == {"country": "DE", "number": 7}, answer.text
    wait_until(lambda: "site" in assets(stack), seconds=60, what="the asset")
    assert send(stack, SITE % 8).status_code == 200
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as database:
        query = "SELECT number, turnover::text FROM entities.sites WHERE number IN (7, 8) ORDER BY 1"
        rows = database.execute(query).fetchall()
    assert rows == [(7, "1234.500"), (8, "1234.500")]
    site = assets(stack)["site"]
    assert site["assetMaterializations"]
    assert site["dependencyKeys"] == [{"path": ["entities", "raw_batches"]}]
    columns = next(entry["schema"]["columns"] for entry in site["metadataEntries"] if entry)
    assert columns[-1] == {"name": "turnover", "type": "numeric(9,3)"}


def check(stack: RunningStack) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "ingestion_assets.cli", "entities", "check")
    return subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entity: [\n", "wrong.yaml:2:1: not valid YAML"),
        ((WORKSHOP_FOLDER.parents[2] / "ingestion_assets/entities/tpch/customer.yaml").read_text().replace("[customer_key]", "[name]"), "entity Customer is taken by Customer already"),
    ],
)  # fmt: skip
def test_faulty_file_takes_nothing_down(stack: RunningStack, folder: Path, text: str, said: str) -> None:
    (folder / "wrong.yaml").write_text(text, encoding="utf-8")
    wait_until(lambda: health(stack)["status"] == "degraded", seconds=30, what="the fault to be said")
    told = health(stack)
    assert said in told["dependencies"]["entity_definitions"]["detail"]
    assert told["entities"] == TPCH
    checked = check(stack)
    assert checked.returncode == 1
    assert said in checked.stderr
    assert "the last good definitions are active: Customer, Product, Order" in checked.stderr
    assert send(stack, "C|1|n|a|3|p|-7.10|BUILDING|c").status_code == 200
    (folder / "wrong.yaml").unlink()
    wait_until(lambda: health(stack)["status"] == "healthy", seconds=30, what="all to be well again")
