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
MATERIALIZED = """{ assetNodes(assetKeys: [{path: ["modules", "ingestion_log"]}]) {
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions } } } }"""
STATES = "SELECT * FROM ingestion.module_states WHERE site_id = %s ORDER BY machine_name, sequence"


@pytest.mark.slow
def test_syncs_through_the_whole_system(stack: RunningStack) -> None:
    headers = {"X-API-Key": stack.admin_token, "Prefer": "wait=60"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=90) as client:

        def site(name: str) -> int:
            return client.post("/sites", json={"name": name}).raise_for_status().json()["id"]

        one, two = site("Town hall"), site("Musée d'art, Zürich")
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
        connection.execute("UPDATE ingestion.sites SET name = 'Library' WHERE id = %s", [one])
    keys = {one: f"{one}-town-hall", two: f"{two}-musée-d-art-zürich"}
    wait_until(lambda: set(keys.values()) <= _materialized(stack), seconds=60, what="the runs to end")
    assert _rebuild(stack, keys[one]) == "SUCCESS"
    with psycopg.connect(url) as connection:
        assert connection.execute(STATES, [one]).fetchall() == before

        # A site of before there were names in keys.
        connection.execute("UPDATE ingestion.sites SET slug = NULL WHERE id = %s", [one])
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=90) as client:
        assert client.get(f"/sites/{one}").json()["partition"] == str(one)
        again = client.post(f"/sites/{one}/modules/sync", json=body([module("m0", "3.0.0")], minute=2), params={"confirm_removals": True})  # fmt: skip
        assert again.json()["updated_modules"] == 1
    wait_until(lambda: str(one) in _materialized(stack), seconds=30, what="its run to end")
    with psycopg.connect(url) as connection:
        before = connection.execute(STATES, [one]).fetchall()
    for key in (str(one), keys[one]):
        assert _rebuild(stack, key) == "SUCCESS"
        with psycopg.connect(url) as connection:
            assert connection.execute(STATES, [one]).fetchall() == before


def _ask(stack: RunningStack, query: str, **variables: Any) -> Any:
    answer = httpx.post(
        f"{stack.dagster_url}/graphql", json={"query": query, "variables": variables}, timeout=30
    )
    return answer.raise_for_status().json()["data"]


def _materialized(stack: RunningStack) -> set[str]:
    (node,) = _ask(stack, MATERIALIZED)["assetNodes"]
    return set(node["assetPartitionStatuses"]["materializedPartitions"])


def _rebuild(stack: RunningStack, key: str) -> str:
    selector = {
        "repositoryLocationName": "ingestion_assets",
        "repositoryName": "__repository__",
        "jobName": "modules",
    }
    tags = [{"key": "dagster/partition", "value": key}]
    params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
    run_id = _ask(stack, LAUNCH, params=params)["launchRun"]["run"]["runId"]

    def status() -> str:
        return _ask(stack, STATUS, id=run_id)["runOrError"]["status"]

    wait_until(lambda: status() in {"SUCCESS", "FAILURE", "CANCELED"}, seconds=120, what="the rebuild to end")
    return status()
