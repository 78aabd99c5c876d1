"""A code location of somebody else's on the same Dagster instance: its runs are started as they would be without us."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import psycopg
import pytest

from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stack.another_python import another_python
from ingestion_assets_tests.stack.shop_project import ask, launch, status
from ingestion_assets_tests.stacks import RunningStack, running_stack

SHOP = """
import time
from pathlib import Path
import dagster as dg
import pandas

@dg.asset
def orders() -> dg.MaterializeResult:
    (Path(__file__).parent / "pandas.txt").write_text(pandas.__version__)
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})

@dg.asset(deps=[orders])
def report() -> None: ...

@dg.op
def wait() -> None:
    time.sleep(600)

@dg.job
def waiting() -> None:
    wait()

for_workers = dg.define_asset_job("for_workers", [orders], tags={"dagster-celery/queue": "default"})
defs = dg.Definitions(
    assets=[orders, report], jobs=[dg.define_asset_job("shop", [orders, report]), waiting, for_workers]
)
"""
TERMINATE = "mutation Stop($run: String!) { terminateRun(runId: $run) { __typename } }"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A code location with a Python, and a pandas, of its own."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    python = another_python(folder / "python")
    (folder / "workspace.yaml").write_text(
        f"load_from:\n  - python_file: {{relative_path: shop.py, location_name: shop, executable_path: {python}}}\n",
        encoding="utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Iterator[RunningStack]:
    workspace = shop / "workspace.yaml"
    with running_stack(
        tmp_path_factory.mktemp("home"), workspace=workspace, workers_gpu=0, workers_batch=0
    ) as stack:
        yield stack


def test_a_plain_job_succeeds_with_its_own_executor_and_packages(stack: RunningStack, shop: Path) -> None:
    run = launch(stack, "shop")
    wait_until(lambda: status(stack, run) == "SUCCESS", seconds=90, what="the other location's run")
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        query = "SELECT count(DISTINCT step_key) FROM event_logs WHERE run_id = %s AND dagster_event_type = 'STEP_WORKER_STARTED'"
        assert connection.execute(query, [run]).fetchone() == (
            2,
        )  # Dagster's default: a process for each step
    assert (shop / "pandas.txt").read_text(encoding="utf-8") != version("pandas")


def test_workers_take_nothing_that_they_cannot_import(stack: RunningStack, shop: Path) -> None:
    (shop / "pandas.txt").unlink(missing_ok=True)
    run = launch(stack, "for_workers")
    wait_until(lambda: status(stack, run) == "SUCCESS", seconds=90, what="the run in its own Python")
    assert (shop / "pandas.txt").read_text(encoding="utf-8") != version("pandas")


def test_it_can_be_terminated_and_ours_go_on_beside_it(stack: RunningStack) -> None:
    run = launch(stack, "waiting")
    wait_until(lambda: status(stack, run) == "STARTED", seconds=60, what="the run to be at work")
    answer = httpx.post(
        f"{stack.url}/api/v1/ingest/message", json={"type": "user", "uuid": "beside", "message": {"content": "x"}},
        headers={"X-API-Key": stack.admin_token}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert ask(stack, TERMINATE, {"run": run})["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: status(stack, run) == "CANCELED", seconds=30, what="the run to be cancelled")
