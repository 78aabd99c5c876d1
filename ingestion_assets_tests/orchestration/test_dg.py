"""Dagster's own command `dg` works at the root of the repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

from ingestion_assets_tests.orchestration.conftest import PROJECT


def _dg(*arguments: str, **variables: str) -> str:
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "INGESTION_"))
    }
    done = subprocess.run(
        (Path(sys.executable).with_name("dg"), *arguments),
        capture_output=True, text=True, cwd=PROJECT, env=bare | variables, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_definitions_are_checked_and_listed(tmp_path: Path) -> None:
    assert "All definitions loaded successfully" in _dg("check", "defs", INGESTION_HOME=str(tmp_path))
    listed = json.loads(_dg("list", "defs", "--json", INGESTION_HOME=str(tmp_path)))
    assert "conversations/messages" in {one["asset_key"] for one in listed["assets"]}
    assert "conversations" in {one["name"] for one in listed["jobs"]}


def test_a_job_is_launched(dagster_home: Path, postgres_url: str, tmp_path: Path) -> None:
    _dg(
        "launch", "--job", "landing", DAGSTER_HOME=str(dagster_home), INGESTION_HOME=str(tmp_path),
        INGESTION_POSTGRES_URL=postgres_url,
    )  # fmt: skip
