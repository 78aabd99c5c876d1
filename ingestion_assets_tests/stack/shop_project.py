"""A project of somebody else's: a package `shop` with plain assets, a job for our workers, and whatever a test writes into it."""

import os
import time
from pathlib import Path
from typing import Any

import httpx

from ingestion_assets_tests.stacks import RunningStack

DEFINITIONS = """
import os
from pathlib import Path
import dagster as dg
from shop.words import WORD

def say(what: str) -> None:
    print_to = Path(__file__).parents[1] / f"{what}.txt"
    with print_to.open("a") as said:
        said.write(f"{WORD} {os.getpid()}\\n")

@dg.asset
def orders() -> None:
    say("orders")

@dg.asset(deps=[orders])
def report() -> None: ...

@dg.op
def tell() -> None:
    say("warm")

@dg.job(tags={"dagster-celery/queue": "default"}, description=WORD)
def for_workers() -> None:
    tell()

@dg.job(tags={"dagster-celery/queue": "default"}, description=WORD, executor_def=dg.in_process_executor)
def within_workers() -> None:
    tell()

defs = dg.Definitions(
    assets=[orders, report], jobs=[for_workers, within_workers, dg.define_asset_job("plain", [orders, report])],
)
"""
SENSOR = """

@dg.sensor(job=within_workers, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def fresh(context: dg.SensorEvaluationContext) -> dg.RunRequest:
    say("ticked")
    return dg.RunRequest(run_key="once")

defs = dg.Definitions.merge(defs, dg.Definitions(sensors=[fresh]))
"""
LAUNCH = """
mutation Launch($job: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "shop", repositoryName: "__repository__", jobName: $job}, runConfigData: {}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
DESCRIPTION = """
query Described($job: String!) {
  pipelineOrError(params: {repositoryLocationName: "shop", repositoryName: "__repository__", pipelineName: $job}) {
    ... on Pipeline { description }
  }
}
"""


class Shop:
    """The project in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop").mkdir(parents=True)
        self.write("__init__.py", "")
        self.write("words.py", 'WORD = "old"\n')
        self.write("definitions.py", DEFINITIONS)
        (folder / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "shop"\n', encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """As an editor saves: a whole file, in the place of the one before."""
        place = self.folder / "shop" / name
        draft = place.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(place)

    def said(self, what: str) -> list[list[str]]:
        """The words that were told there, each with the process that did."""
        place = self.folder / f"{what}.txt"
        return (
            [line.split() for line in place.read_text(encoding="utf-8").splitlines()]
            if place.exists()
            else []
        )


def ask(stack: RunningStack, text: str, variables: dict[str, str]) -> dict[str, Any]:
    answer = httpx.post(
        f"{stack.dagster_url}/graphql", json={"query": text, "variables": variables}, timeout=30
    )
    return answer.raise_for_status().json()["data"]


def launch(stack: RunningStack, job: str) -> str:
    """A run of a job of the location `shop`, which may still be loading."""
    deadline = time.monotonic() + 60
    while (said := ask(stack, LAUNCH, {"job": job})["launchRun"])["__typename"] != "LaunchRunSuccess":
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
    return said["run"]["runId"]


def status(stack: RunningStack, run: str) -> str:
    query = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
    return ask(stack, query, {"run": run})["runOrError"]["status"]


def description(stack: RunningStack, job: str) -> str | None:
    """What the code location says that the job is for."""
    return ask(stack, DESCRIPTION, {"job": job})["pipelineOrError"].get("description")


def command_of(process: int) -> str:
    """What a process that still runs was started with."""
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def is_alive(process: int) -> bool:
    return os.path.exists(f"/proc/{process}")  # noqa: PTH110
