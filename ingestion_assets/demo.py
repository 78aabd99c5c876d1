"""`ingestion demo`: the main job from beginning to end, by the commands that a user would type."""

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from ingestion_assets.frontdoor.dagster_graphql import DagsterError, Question, ask, launch_run
from ingestion_assets.settings import Settings, load_settings

SESSIONS = 24
LINES = 6_000
LATENCY_REQUESTS = 5
LATENCY_MESSAGES = 1_000

_ASSETS = """
{ assetNodes { assetKey { path } groupName
    assetMaterializations(limit: 1) { timestamp }
    assetChecksOrError { ... on AssetChecks { checks { name
      executionForLatestMaterialization { evaluation { success severity } } } } } } }
"""

# What otherwise happens by the hour: a look at the ledger, a comparison of MongoDB with what was ever stored.
_HOURLY_JOBS = ("landing", "conversations_audit")
_STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
_RUN_TIMEOUT_S = 120.0

app = typer.Typer()
console = Console()


class DemoError(Exception):
    """A step of the demonstration did not do what it should."""


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running at the end.")] = False,
) -> None:
    """Start the stack, send made-up transcripts twice, show what became of them, stop.

    A stack that runs already is used and left running.
    """
    started = time.monotonic()
    was_running = _ingestion("status", check=False, quiet=True) == 0
    try:
        if not was_running:
            console.rule("Starting the stack")
            _ingestion("up", "--detach")
        _show(load_settings())
    except (DemoError, DagsterError) as error:
        console.print(f"[red]The demonstration failed:[/red] {error}")
        raise typer.Exit(1) from None
    finally:
        if not (keep or was_running):
            console.rule("Stopping the stack")
            _ingestion("down", check=False)
    console.print(f"Done in {time.monotonic() - started:.0f} s.")


def _show(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="ingestion-demo-") as folder, _client(settings) as client:
        console.rule(f"Making {SESSIONS} sessions with {LINES:,} lines")
        _ingestion("send", "sample", folder, "--sessions", str(SESSIONS), "--lines", str(LINES))
        console.rule("Sending them")
        _ingestion("send", "claude", folder)
        before = _totals(client)
        console.rule("Sending them again")
        _ingestion("send", "claude", folder, "--reset")
        after = _totals(client)
        if before != after:
            raise DemoError(f"sending again changed the tables: {before} before, {after} after")
        console.print("[green]0 new:[/green] every line was recognised.")
    console.rule("What there is now")
    with (
        httpx.Client(base_url=settings.dagster_url, timeout=30, auth=settings.dagster_login) as dagster,
        _client(settings) as client,
    ):
        _run_jobs(dagster, _HOURLY_JOBS)
        failed = _print_assets(dagster, rows=_totals(client))
        _print_latency(client)
    console.print(f"\nDagster UI   {settings.dagster_url}/asset-groups")
    console.print(f"API docs     http://{settings.host}:{settings.port}/docs")
    console.print("`make up` starts the stack again with this data and keeps it running.")
    if failed:
        raise DemoError(f"checks failed: {', '.join(failed)}")


def _ingestion(*arguments: str, check: bool = True, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    code = subprocess.run(
        [Path(sys.executable).with_name("ingestion"), *arguments], check=False, stdout=output, stderr=output
    ).returncode
    if check and code != 0:
        raise DemoError(f"`ingestion {' '.join(arguments)}` ended with exit status {code}")
    return code


def _client(settings: Settings) -> httpx.Client:
    key = (settings.home / "admin_token").read_text().strip()
    if settings.admin_token is not None:
        key = settings.admin_token.get_secret_value()
    base = f"http://{settings.host}:{settings.port}/api/v1"
    return httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=120)


def _totals(client: httpx.Client) -> dict[str, int]:
    answer = client.get("/ingest/status")
    answer.raise_for_status()
    return answer.json()["statistics"]


def _run_jobs(dagster: httpx.Client, names: Iterable[str]) -> None:
    """Run jobs in Dagster and wait until they have ended."""
    runs: dict[str, str] = {}
    for name in names:
        try:
            launched = ask(dagster, launch_run(name))
        except DagsterError as error:
            raise DemoError(f"the job {name} does not start: {error}") from None
        runs[launched["run"]["runId"]] = name
    deadline = time.monotonic() + _RUN_TIMEOUT_S
    while runs:
        for run_id in [*runs]:
            if ask(dagster, Question(_STATUS, "runOrError", {"id": run_id}))["status"] in _ENDED:
                del runs[run_id]
        if runs and time.monotonic() > deadline:
            raise DemoError(f"did not end within {_RUN_TIMEOUT_S:.0f} s: {', '.join(runs.values())}")
        time.sleep(0.2)


def _print_assets(dagster: httpx.Client, *, rows: dict[str, int]) -> list[str]:
    """Print the assets of the flows that were used, with rows and checks; returns the names of checks that failed."""
    nodes = ask(dagster, Question(_ASSETS, "assetNodes", {}))
    used = {node["groupName"] for node in nodes if node["assetMaterializations"]}
    unused = sorted({node["groupName"] for node in nodes} - used)
    table = Table("asset", "rows", "at (UTC)", "checks")
    table.columns[0].no_wrap = True
    failed = []
    for node in sorted(nodes, key=lambda node: node["assetKey"]["path"]):
        if node["groupName"] not in used:
            continue
        name = "/".join(node["assetKey"]["path"])
        checks = [
            (check["name"], execution["evaluation"])
            for check in node["assetChecksOrError"].get("checks", [])
            if (execution := check["executionForLatestMaterialization"]) and execution["evaluation"]
        ]
        # A warning, as on a disk that fills, is shown, but says nothing of whether the system works.
        failed += [
            f"{name}: {check}"
            for check, said in checks
            if not said["success"] and said["severity"] == "ERROR"
        ]
        stored = rows.get(f"total_{node['assetKey']['path'][-1]}")
        count = "" if stored is None else f"{stored:,}"
        table.add_row(
            name,
            count,
            _newest(node["assetMaterializations"]),
            _marks([(check, said["success"]) for check, said in checks]),
        )
    console.print(table)
    if unused:
        console.print(f"Nothing was sent to {' and '.join(unused)} yet.")
    return failed


def _newest(materializations: list[dict[str, Any]]) -> str:
    if not materializations:
        return "-"
    at = datetime.fromtimestamp(int(materializations[0]["timestamp"]) / 1000, UTC)
    return f"{at:%H:%M:%S}"


def _marks(checks: Iterable[tuple[str, bool]]) -> str:
    return ", ".join(f"[{'green' if passed else 'red'}]{name}[/]" for name, passed in checks)


def _print_latency(client: httpx.Client) -> None:
    """Send fresh messages and wait for each answer."""
    from ingestion_assets.sending.synthetic import messages  # noqa: PLC0415

    seconds = []
    for number in range(LATENCY_REQUESTS):
        batch = list(messages(lines=LATENCY_MESSAGES, seed=uuid.uuid4().int % 2**32 + number))
        begun = time.monotonic()
        answer = client.post("/ingest/batch", json={"messages": batch})
        if answer.status_code != httpx.codes.OK:
            raise DemoError(f"a batch was answered {answer.status_code}: {answer.text[:300]}")
        seconds.append(time.monotonic() - begun)
    seconds.sort()
    console.print(
        f"{LATENCY_MESSAGES:,} messages, from request to answer with statistics: median "
        f"{seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s."
    )
