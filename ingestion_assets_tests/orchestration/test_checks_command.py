"""`ingestion checks run` as a CI calls it: its exit status and its JUnit file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa

from ingestion_assets_tests.orchestration.conftest import PROJECT

CHECK = "landing/drops:segments_readable"


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
    (case,) = ElementTree.parse(junit).getroot().iter("testcase")  # noqa: S314  # our own
    assert case.find("failure") is not None
    _repair(engine)
    green = _run(tmp_path, *chosen, "--json", INGESTION_POSTGRES_URL=postgres_url)
    assert green.returncode == 0, green.stdout + green.stderr
    (line,) = green.stdout.splitlines()
    assert json.loads(line)["passed"] is True
    (case,) = ElementTree.parse(junit).getroot().iter("testcase")  # noqa: S314  # our own
    assert len(case) == 0


def test_without_a_stack_it_is_2_and_says_so(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert done.returncode == 2
    assert "ingestion up" in done.stderr
    assert "Traceback" not in done.stderr
