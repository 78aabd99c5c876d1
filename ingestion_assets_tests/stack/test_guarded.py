"""A whole stack with every secret that can be given: who holds which, and what a stranger may."""

from pathlib import Path

import httpx
import psutil
import pytest

from ingestion_assets.stack.program_secrets import SECRETS
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stack.conftest import PASSWORD
from ingestion_assets_tests.stack.test_program_secrets import HAS
from ingestion_assets_tests.stacks import RunningStack

pytestmark = pytest.mark.slow

_RUNS = "{ runsOrError { ... on Runs { results { status tags { key } } } } }"
_STOP = (
    'mutation { setSensorCursor(sensorSelector: {repositoryLocationName: "ingestion_assets", '
    'repositoryName: "__repository__", sensorName: "conversations_landed"}, cursor: "x") { __typename } }'
)


def test_the_front_door_starts_runs_at_once_where_a_stranger_may_nothing(guarded: RunningStack) -> None:
    line = {"type": "user", "uuid": "u1", "sessionId": "s1", "timestamp": "2026-01-31T12:00:00Z",
            "cwd": "/home/dev/projects/site", "message": {"role": "user", "content": "hello"}}  # fmt: skip
    answer = httpx.post(
        f"{guarded.url}/api/v1/ingest/message", json=line, timeout=90,
        headers={"X-API-Key": guarded.admin_token, "Prefer": "wait=60"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    graphql = f"{guarded.dagster_url}/graphql"
    assert httpx.post(graphql, json={"query": _RUNS}, timeout=30).status_code == 401
    found = httpx.post(graphql, json={"query": _RUNS}, auth=("any", PASSWORD), timeout=30).json()
    (run,) = found["data"]["runsOrError"]["results"]
    assert "dagster/tick" not in {tag["key"] for tag in run["tags"]}, "no sensor asked for it"

    def orchestrator_is_up() -> bool:
        health = httpx.get(f"{guarded.url}/health", timeout=30).json()
        return health["dependencies"]["orchestrator"]["status"] == "up"

    wait_until(orchestrator_is_up, seconds=20, what="the front door to see the webserver")


def test_a_page_of_the_web_changes_nothing(guarded: RunningStack) -> None:
    graphql = f"{guarded.dagster_url}/graphql"
    login = ("any", PASSWORD)  # as the browser adds it by itself
    by_get = httpx.get(graphql, params={"query": _STOP}, auth=login, timeout=30)
    rebound = httpx.post(
        graphql, json={"query": _STOP}, auth=login, headers={"Host": "evil.example"}, timeout=30
    )
    by_form = httpx.post(graphql, data={"query": _STOP}, auth=login, timeout=30)
    foreign = httpx.post(
        graphql, json={"query": _STOP}, auth=login, headers={"Origin": "https://evil.example"}, timeout=30
    )
    assert [by_get.status_code, rebound.status_code, by_form.status_code, foreign.status_code] == [
        405,
        421,
        415,
        403,
    ]


@pytest.mark.parametrize("program", HAS)
def test_no_process_holds_another_secret(guarded: RunningStack, program: str) -> None:
    process = psutil.Process(guarded.pid_of(program))
    values = {name: guarded.environment[f"INGESTION_{name.upper()}"] for name in SECRETS}
    assert all(values.values())
    for one in (process, *process.children(recursive=True)):
        held = Path(f"/proc/{one.pid}/environ").read_bytes().decode(errors="replace")
        assert {name for name, value in values.items() if value in held} == HAS[program], one.cmdline()
