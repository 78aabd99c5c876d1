"""`ingestion documents` against a front door: what it prints, and how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ingestion_assets.documents.cli import app
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.server import create_app
from ingestion_assets.stores import postgres
from ingestion_assets_tests.documents.job_runs import JobRuns
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, served, settings_for


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "bread.txt").write_text(
        "Bread is baked from flour, water and salt in a hot oven.", encoding="ascii"
    )
    (folder / "bread[1].txt").write_text("Bread is sold by the baker.", encoding="ascii")
    (folder / "\x1b[31mmoon.txt").write_text("The moon moves around the earth.", encoding="ascii")
    (folder / "empty.txt").touch()
    return folder


@pytest.fixture
def front(documents_url: str, tmp_path: Path, reports: Path) -> Iterator[None]:
    """A front door with real runs; commands of this process are for it."""
    given = {
        "HOME": tmp_path / "home", "ADMIN_TOKEN": ADMIN_TOKEN, "POSTGRES_URL": documents_url, "DOCUMENT_ROOTS": reports.parent,
        "API_KEY": ADMIN_TOKEN,
    }  # fmt: skip
    with environment(**{f"INGESTION_{name}": value for name, value in given.items()}):
        settings = settings_for(home=tmp_path / "home", postgres_url=documents_url)
        runs = JobRuns(engine=postgres.engine(documents_url), settings=settings, chosen=DocumentsSettings())
        with served(create_app(settings, launch=runs)) as url:
            host, port = url.removeprefix("http://").split(":")
            with environment(INGESTION_HOST=host, INGESTION_PORT=port):
                yield
        runs.end()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(
        app, [*arguments, *(["--user", "anna"] if arguments[0] != "verify" else [])], env={"COLUMNS": "200"}
    )


def printed(result: Result) -> list[dict]:
    """The JSON among what is printed; the front door, which is of this process, may log in between."""
    return [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]


@pytest.mark.usefixtures("front")
def test_a_job_from_its_connection_to_search(reports: Path) -> None:
    made = run("connect", "Reports", "--path", str(reports), "--json")
    assert made.exit_code == 0, made.output
    connection = printed(made)[0]["connection_id"]
    waiting = run("submit", f"{connection}:bread[1].txt", "--no-start", "--json")
    (job,) = printed(waiting)
    assert (waiting.exit_code, job["status"], job["total_files"]) == (0, "pending", 1)
    assert "cancel" in run("control", job["job_id"], "cancel").output
    assert run("watch", job["job_id"]).exit_code == 1
    refused = run("control", job["job_id"], "pause")
    assert refused.exit_code == 1
    failed = run("submit", connection, "--name", "All")
    assert failed.exit_code == 1, failed.output
    assert "empty_file" in failed.output
    fine = run("submit", f"{connection}:bread.txt", f"{connection}:*moon.txt", "--json")
    assert fine.exit_code == 0, fine.output
    assert not [line for line in fine.output.splitlines() if line.startswith("job_")], "it is no JSON"
    assert printed(fine)[-1] | {"job_id": ""} == {
        "job_id": "", "status": "completed", "progress_percentage": 100, "completed_files": 0, "failed_files": 0, "skipped_files": 2, "total_files": 2,
    }  # fmt: skip
    listed = run("jobs").output
    assert "All" in listed
    assert "cancelled" in listed
    assert "bread.txt" in run("search", "What is bread baked from?", "--mode", "text").output
    found = run("search", "What moves around the earth?", "--mode", "text").output
    assert "\N{REPLACEMENT CHARACTER}[31mmoon.txt" in found
    assert run("verify").exit_code == 0


@pytest.mark.usefixtures("front")
def test_what_is_refused_is_said_and_ends_with_its_status() -> None:
    nowhere = run("connect", "Elsewhere", "--path", "/etc")
    assert nowhere.exit_code == 1
    assert "INGESTION_DOCUMENT_ROOTS" in nowhere.output
    unknown = run("submit", "conn_000000000000000000000000")
    assert unknown.exit_code == 1
    assert "There is no connection" in unknown.output
    assert run("jobs", "--url", "http://127.0.0.1:9").exit_code == 2
