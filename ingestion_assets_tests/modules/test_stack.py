"""Through the whole system: a sync woken at once, one that only the sensors see, and a rebuild as from the UI."""

import json
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_assets_tests.modules.replay import body, module
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
STATES = "SELECT * FROM ingestion.module_states WHERE site_id = %s ORDER BY machine_name, sequence"


@pytest.mark.slow
def test_syncs_through_the_whole_system(stack: RunningStack) -> None:
    headers = {"X-API-Key": stack.admin_token, "Prefer": "wait=60"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=90) as client:

        def site() -> int:
            return client.post("/sites", json={"name": "site"}).raise_for_status().json()["id"]

        one, two = site(), site()
        first = client.post(f"/sites/{one}/modules/sync", json=body([module(f"m{n}") for n in range(1000)]))
        assert (first.status_code, first.json()["new_modules"]) == (200, 1000)
        second = client.post(
            f"/sites/{one}/modules/sync", json=body([module(f"m{n}", "2.0.0") for n in range(900)], minute=1)
        )
        assert (second.json()["updated_modules"], second.json()["removed_modules"]) == (900, 100)

        inbox = Path(stack.home) / "landing" / "modules" / "inbox" / str(two)
        inbox.mkdir(parents=True)
        (inbox / "today.json").write_text(json.dumps(body([module("a"), module("b")])))
        wait_until(
            lambda: client.get(f"/sites/{two}/modules").json()["items"],
            seconds=90,
            what="the inbox file to be applied",
        )

    url = stack.environment["INGESTION_POSTGRES_URL"]
    with psycopg.connect(url) as connection:
        before = connection.execute(STATES, [one]).fetchall()
    assert _rebuild(stack, one) == "SUCCESS"
    with psycopg.connect(url) as connection:
        assert connection.execute(STATES, [one]).fetchall() == before


def _rebuild(stack: RunningStack, site_id: int) -> str:
    def ask(query: str, **variables: Any) -> Any:
        answer = httpx.post(
            f"{stack.dagster_url}/graphql", json={"query": query, "variables": variables}, timeout=30
        )
        return answer.raise_for_status().json()["data"]

    selector = {
        "repositoryLocationName": "ingestion_assets",
        "repositoryName": "__repository__",
        "jobName": "modules",
    }
    tags = [{"key": "dagster/partition", "value": str(site_id)}]
    params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
    run_id = ask(LAUNCH, params=params)["launchRun"]["run"]["runId"]

    def status() -> str:
        return ask(STATUS, id=run_id)["runOrError"]["status"]

    wait_until(lambda: status() in {"SUCCESS", "FAILURE", "CANCELED"}, seconds=120, what="the rebuild to end")
    return status()
