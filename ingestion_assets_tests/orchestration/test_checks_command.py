"""`ingestion checks run` as a CI calls it: its exit status and its JUnit file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from junitparser import JUnitXml

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.stores.postgres import migrate_flow
from ingestion_assets_tests.orchestration.conftest import PROJECT

CHECK = "landing/drops:segments_readable"
SHOP = """
import dagster as dg

@dg.asset(check_specs=[dg.AssetCheckSpec("made_with_it", asset="shop")])
def shop():
    raise AssertionError("a check of it writes no asset")

@dg.asset_check(asset=shop)
def open():
    return dg.AssetCheckResult(passed=False)

@dg.asset_check(asset=shop)
def countable():
    raise ValueError("planted")

definitions = dg.Definitions(assets=[shop], asset_checks=[open, countable])
"""


@pytest.fixture
def planted(engine: sa.Engine) -> Iterator[None]:
    """A segment that cannot be read."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ingestion.unreadable_segments (path, reason, since, looked_at) VALUES ('planted', 'cut off', now(), now())"
            )
        )
    yield
    _repair(engine)


def _repair(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ingestion.unreadable_segments WHERE path = 'planted'"))


def _run(home: Path, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "INGESTION_"))
    }
    command = (sys.executable, "-m", "ingestion_assets.cli", "checks", "run", *options)
    environment = {**bare, "INGESTION_HOME": str(home), **variables}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=180, cwd=PROJECT
    )


@pytest.mark.usefixtures("planted", "dagster_home")
def test_a_planted_fault_is_1_and_0_after_the_repair(
    engine: sa.Engine, postgres_url: str, tmp_path: Path
) -> None:
    junit = tmp_path / "checks.xml"
    chosen = ("--select", CHECK, "--junit", str(junit))
    red = _run(tmp_path, *chosen, INGESTION_POSTGRES_URL=postgres_url)
    assert red.returncode == 1, red.stdout + red.stderr
    assert red.stdout.startswith(f"failed   {CHECK} failed in run ")
    suites = JUnitXml.fromfile(str(junit))
    assert (suites.tests, suites.failures, suites.errors) == (1, 1, 0)
    ((case,),) = suites
    assert case.result[0].message == red.stdout.splitlines()[0].removeprefix("failed   ")
    _repair(engine)
    green = _run(tmp_path, *chosen, "--json", INGESTION_POSTGRES_URL=postgres_url)
    assert green.returncode == 0, green.stdout + green.stderr
    (line,) = green.stdout.splitlines()
    assert json.loads(line)["passed"] is True
    ((case,),) = JUnitXml.fromfile(str(junit))
    assert case.is_passed


@pytest.mark.usefixtures("planted", "dagster_home")
def test_the_workflow_for_a_ci_is_red_while_a_check_fails(
    engine: sa.Engine, postgres_url: str, mongodb_url: str, tmp_path: Path
) -> None:
    """Its last line that runs something, literally, in the environment that it gives."""
    for name, flow in all_flows().items():
        if flow.migrations is not None:
            package, _, folder = flow.migrations.partition(":")
            with as_file(files(package) / folder) as revisions:
                migrate_flow(name, revisions, url=postgres_url)
    workflow = yaml.safe_load((PROJECT / "deploy" / "ci" / "checks.yaml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["checks"]
    values = {"INGESTION_POSTGRES_URL": postgres_url, "INGESTION_MONGODB_URL": f"{mongodb_url}/ingestion"}
    assert job["env"].keys() == values.keys()
    command = [step["run"] for step in job["steps"] if "run" in step][-1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "INGESTION_HOME": str(tmp_path / "home"), **values}

    def run() -> "tuple[subprocess.CompletedProcess[str], JUnitXml]":
        done = subprocess.run(
            ("/bin/sh", "-c", command), env=environment, capture_output=True, text=True, check=False,
            timeout=180, cwd=tmp_path,
        )  # fmt: skip
        assert (tmp_path / "checks.xml").exists(), done.stdout + done.stderr
        return done, JUnitXml.fromfile(str(tmp_path / "checks.xml"))

    red, told = run()
    assert (red.returncode, told.failures, told.errors) == (1, 1, 0), red.stdout + red.stderr
    _repair(engine)
    green, told = run()
    assert (green.returncode, told.failures, told.errors) == (0, 0, 0), green.stdout + green.stderr
    assert len(list(told)) > 3


@pytest.mark.usefixtures("dagster_home")
def test_checks_that_no_job_of_a_project_has_are_evaluated_or_told_as_unknown(
    postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "shop_without_jobs.py").write_text(SHOP, encoding="utf-8")
    variables = {
        "INGESTION_POSTGRES_URL": postgres_url,
        "INGESTION_MODULES": "shop_without_jobs",
        "INGESTION_PROJECT": str(tmp_path),
    }
    red = _run(tmp_path, "--select", "shop:open", **variables)
    assert red.returncode == 1, red.stdout + red.stderr
    assert red.stdout.startswith("failed   shop:open failed in run ")
    unknown = _run(tmp_path, "--select", "shop", "--json", **variables)
    assert unknown.returncode == 2, unknown.stdout + unknown.stderr
    told = {one["check"]: one["passed"] for one in map(json.loads, unknown.stdout.splitlines())}
    assert told == {"open": False, "countable": None, "made_with_it": None}


@pytest.mark.usefixtures("dagster_home")
def test_no_asset_of_a_project_is_written_for_its_checks(postgres_url: str, tmp_path: Path) -> None:
    """Its jobs write them, a CI does not."""
    with_job = SHOP.replace("Definitions(", 'Definitions(jobs=[dg.define_asset_job("everything", "*")], ')
    (tmp_path / "shop_with_job.py").write_text(with_job, encoding="utf-8")
    variables = {
        "INGESTION_POSTGRES_URL": postgres_url,
        "INGESTION_MODULES": "shop_with_job",
        "INGESTION_PROJECT": str(tmp_path),
    }
    done = _run(tmp_path, "--select", "shop", "--json", **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    told = {one["check"]: one["passed"] for one in map(json.loads, done.stdout.splitlines())}
    assert told == {"open": False, "countable": None, "made_with_it": None}


@pytest.mark.usefixtures("dagster_home")
def test_a_file_that_cannot_be_written_is_2_and_a_sentence(postgres_url: str, tmp_path: Path) -> None:
    file = tmp_path / "no folder" / "checks.xml"
    done = _run(tmp_path, "--select", CHECK, "--junit", str(file), INGESTION_POSTGRES_URL=postgres_url)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"cannot write {file}: No such file or directory" in done.stderr
    assert done.stdout == "1 of 1 checks passed, counted by partition.\n"


def test_without_a_stack_it_is_2_and_says_so(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert done.returncode == 2
    assert "ingestion up" in done.stderr
    assert "Traceback" not in done.stderr
