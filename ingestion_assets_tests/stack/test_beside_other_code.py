"""A code location of somebody else's on the same Dagster instance: its runs are started as they would be without us."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack, running_stack

SHOP = """
import time
import dagster as dg

@dg.asset
def orders() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})

@dg.asset(deps=[orders])
def report() -> None: ...

@dg.op
def wait() -> None:
    time.sleep(600)

@dg.job
def waiting() -> None:
    wait()

defs = dg.Definitions(assets=[orders, report], jobs=[dg.define_asset_job("shop", [orders, report]), waiting])
"""
LAUNCH = """
mutation Launch($job: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "shop", repositoryName: "__repository__", jobName: $job}, runConfigData: {}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
TERMINATE = "mutation Stop($run: String!) { terminateRun(runId: $run) { __typename } }"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        "load_from:\n  - python_file: {relative_path: shop.py, location_name: shop}\n", encoding="utf-8"
    )
    with running_stack(tmp_path_factory.mktemp("home"), workspace=workspace) as stack:
        yield stack


def test_a_plain_job_succeeds_with_its_own_executor(stack: RunningStack) -> None:
    run = _launch(stack, "shop")
    wait_until(lambda: _status(stack, run) == "SUCCESS", seconds=90, what="the other location's run")
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        query = "SELECT count(DISTINCT step_key) FROM event_logs WHERE run_id = %s AND dagster_event_type = 'STEP_WORKER_STARTED'"
        assert connection.execute(query, [run]).fetchone() == (
            2,
        )  # Dagster's default: a process for each step


def test_it_can_be_terminated_and_ours_go_on_beside_it(stack: RunningStack) -> None:
    run = _launch(stack, "waiting")
    wait_until(lambda: _status(stack, run) == "STARTED", seconds=60, what="the run to be at work")
    answer = httpx.post(
        f"{stack.url}/api/v1/ingest/message", json={"type": "user", "uuid": "beside", "message": {"content": "x"}},
        headers={"X-API-Key": stack.admin_token}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert _ask(stack, TERMINATE, {"run": run})["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: _status(stack, run) == "CANCELED", seconds=30, what="the run to be cancelled")


def _launch(stack: RunningStack, job: str) -> str:
    said: dict[str, Any] = {}

    def launched() -> bool:  # the location may still be loading
        said.update(_ask(stack, LAUNCH, {"job": job}))
        return said["launchRun"]["__typename"] == "LaunchRunSuccess"

    deadline = time.monotonic() + 60
    while not launched():
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
    return said["launchRun"]["run"]["runId"]


def _status(stack: RunningStack, run: str) -> str:
    query = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
    return _ask(stack, query, {"run": run})["runOrError"]["status"]


def _ask(stack: RunningStack, text: str, variables: dict[str, str]) -> dict[str, Any]:
    answer = httpx.post(
        f"{stack.dagster_url}/graphql", json={"query": text, "variables": variables}, timeout=30
    )
    return answer.raise_for_status().json()["data"]
