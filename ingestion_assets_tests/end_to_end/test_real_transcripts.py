"""Every real transcript goes in through the command, over HTTP, through Dagster; the tables agree with the oracle."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.database import Database

from ingestion_assets.stores import mongo
from ingestion_assets_tests.conversations.oracle import Tables, expected
from ingestion_assets_tests.conversations.stored import differences, real_lines, tables
from ingestion_assets_tests.stacks import RunningStack

SESSION_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def send(stack: RunningStack, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Run `ingestion send claude --json` as a user would."""
    done = subprocess.run(
        [sys.executable, "-m", "ingestion_assets.cli", "send", "claude", *map(str, arguments), "--json"],
        capture_output=True,
        env=stack.environment,
        check=False,
        timeout=240,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def database(stack: RunningStack) -> Database[Any]:
    name = stack.environment.get("INGESTION_MONGODB_DATABASE", "ingestion")
    return mongo.database(stack.environment["INGESTION_MONGODB_URL"], name=name)


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "conversations"


def of_these(found: Tables, wanted: Tables) -> Tables:
    """The part of the tables that these transcripts are about; other tests use the same stack."""
    return Tables(
        messages={key: value for key, value in found.messages.items() if key in wanted.messages},
        owners={key: value for key, value in found.owners.items() if key in wanted.owners},
        sessions={key: value for key, value in found.sessions.items() if key in wanted.sessions},
        projects={key: value for key, value in found.projects.items() if key in wanted.projects},
    )


def test_every_valid_line_is_taken_and_the_tables_agree_with_the_oracle(
    stack: RunningStack, folder: Path, database: Database[Any]
) -> None:
    lines = [
        (value, name if SESSION_NAME.fullmatch(name or "") else None) for value, name in real_lines(folder)
    ]
    wanted = expected(lines)
    files = sorted(path for path in folder.rglob("*.jsonl") if "corruption" not in path.parts)

    status, summary = send(stack, *files, "--concurrency", "1")

    assert summary["rejected"] + summary["unsendable"] == wanted.failed
    codes = sorted(problem["code"] for problem in summary["problems"])
    assert codes.count("conflict") == summary["conflicts"]  # real transcripts repeat uuids with other content
    assert [code for code in codes if code != "conflict"] == ["missing_type", *["not_an_object"] * 3]
    known = ("stored", "duplicate", "conflicts", "rejected")
    assert sum(summary[name] for name in known) == summary["lines_sent"]
    assert status == 1
    assert summary["stored"] == wanted.stored
    assert differences(of_these(tables(database), wanted), wanted) == []

    status, summary = send(stack, *files, "--reset")
    assert summary["stored"] == 0
    assert differences(of_these(tables(database), wanted), wanted) == []


def test_a_batch_is_answered_with_its_statistics_and_every_record_is_found_by_its_receipt(
    stack: RunningStack,
) -> None:
    messages = [
        {
            "type": "user",
            "uuid": "e2e-1",
            "sessionId": "e2e",
            "timestamp": "2026-01-02T03:04:05Z",
            "message": {"content": "a"},
        },
        {
            "type": "user",
            "uuid": "e2e-1",
            "sessionId": "e2e",
            "timestamp": "2026-01-02T03:04:05Z",
            "message": {"content": "a"},
        },
        {"uuid": "e2e-2", "sessionId": "e2e"},
    ]
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=60) as client:
        answer = client.post("/api/v1/ingest/batch", json={"messages": messages})
        assert answer.status_code == 200, answer.text
        stats = answer.json()["stats"]
        assert (stats["messages_received"], stats["messages_processed"]) == (3, 1)
        assert (stats["messages_skipped"], stats["messages_failed"]) == (1, 1)
        receipt = client.get("/api/v1/receipts", params={"limit": 1}).json()["items"][0]
        assert receipt["state"] == "done"
        records = client.get(f"/api/v1/receipts/{receipt['id']}/records").json()["items"]
        assert [record["status"] for record in records] == ["stored", "duplicate", "rejected"]
        assert records[2]["code"] == "missing_type"
        rejects = client.get("/api/v1/rejects", params={"receipt": receipt["id"]}).json()["items"]
        assert [reject["code"] for reject in rejects] == ["missing_type"]
        run = httpx.post(
            f"{stack.dagster_url}/graphql",
            json={
                "query": "query($id: ID!) { runOrError(runId: $id) { ... on Run { status jobName } } }",
                "variables": {"id": receipt["run_id"]},
            },
        ).json()
        assert run["data"]["runOrError"]["jobName"] == "conversations"
