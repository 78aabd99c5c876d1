"""The walk of docs/documents.md, as a reader would go it: from a connection to search."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ingestion_assets.documents.sample_documents import sample_documents
from ingestion_assets_tests.stacks import RunningStack

PAGE = Path(__file__).parents[2] / "docs" / "documents.md"
FILES = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_walk_leads_from_a_connection_to_search(stack: RunningStack) -> None:
    reports = stack.home.parent / "reports" / "walk"
    reports.mkdir(parents=True)
    for name, content in sample_documents(FILES).items():
        (reports / name).write_bytes(content)
    walk = re.search(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert walk is not None
    commands = f"{Path(sys.executable).parent}:{stack.environment['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-eux", "-o", "pipefail", "-c", walk[1]], env={**stack.environment, "REPORTS": str(reports), "COLUMNS": "200", "PATH": commands},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{FILES} files" in done.stdout
    assert re.search(r"First job.*completed.*100 %", done.stdout)
    found = next(line for line in done.stdout.splitlines() if "four weeks" in line)
    assert "library-1.txt" in found
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"job_id"')]
    assert (told[-1]["status"], told[-1]["skipped_files"]) == ("completed", FILES)
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=60) as client:
        hit = client.post(
            "/batch/search", json={"user_id": "user123", "query": "How long may a book be kept?"}
        ).json()
    assert hit["by"] == ["vector", "text"]
    assert hit["items"][0]["file"]["name"] == "library-1.txt"


def test_the_page_names_all_codes_options_and_statuses() -> None:
    from ingestion_assets.documents.file_errors import Code  # noqa: PLC0415
    from ingestion_assets.documents.job_control import ACTIONS, STATUSES, allowed  # noqa: PLC0415
    from ingestion_assets.documents.job_options import ProcessingOptions, SourceOptions  # noqa: PLC0415

    page = PAGE.read_text(encoding="utf-8")
    for name in (*Code.__args__, *ProcessingOptions.model_fields, *SourceOptions.model_fields, *STATUSES):
        assert f"`{name}`" in page, name
    table = {
        status: row.strip("| ").split(" | ")[1:]
        for row in re.findall(r"^\| `(?:pending|queued|running|paused|completed)`.*$", page, re.MULTILINE)
        if len(row.strip("| ").split(" | ")) == 1 + len(ACTIONS)
        for status in re.findall(r"`([a-z]+)`", row.split(" | ")[0])
    }
    assert {
        status: tuple(action for action, cell in zip(ACTIONS, cells, strict=True) if cell != "409")
        for status, cells in table.items()
    } == {status: tuple(action for action in ACTIONS if action in allowed(status)) for status in STATUSES}
