"""`ingestion demo`: the main job from beginning to end, by the commands that a user would type."""

import os
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

from ingestion_assets import proxies
from ingestion_assets.frontdoor.dagster_graphql import DagsterError, Question, ask, launch_run
from ingestion_assets.installed_flows import all_flows, installed, parts
from ingestion_assets.sending.demonstration import Demonstration
from ingestion_assets.sending.options import key_of
from ingestion_assets.settings import Settings, load_settings

LATENCY_REQUESTS = 5

_ASSETS = """
{ assetNodes { assetKey { path } groupName
    assetMaterializations(limit: 1) { timestamp }
    assetChecksOrError { ... on AssetChecks { checks { name
      executionForLatestMaterialization { evaluation { success severity } } } } } } }
"""

_LANDING_JOB = "landing"
"""The look at the ledger that is taken by the hour."""
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
    """Start the stack, send what flows make up for it twice, show what became of them, stop.

    A stack that runs already is used and left running.
    """
    started = time.monotonic()
    Settings()  # pyright: ignore[reportCallIssue]  # what is wrong with them is said before anything is started
    was_running = _ingestion("status", check=False, quiet=True) == 0
    try:
        if not was_running:
            console.rule("Starting the stack")
            _set_for_demonstrations(load_settings().home)
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


def _set_for_demonstrations(home: Path) -> None:
    """What flows want set where they are shown, for the stack and for the commands that come."""
    for flow in all_flows().values():
        for name, value in flow.shown_with.items():
            os.environ.setdefault(name, value.format(home=home))


def _show(settings: Settings) -> None:
    shown, _ = parts(installed(), "demonstration", lambda _flow, demonstration: demonstration)
    rows: dict[str, int] = {}
    for demonstration in shown.values():
        rows |= _send(settings, demonstration)
    for flow in all_flows().values():
        if flow.shown_by:
            console.rule(f"ingestion {' '.join(flow.shown_by)}")
            _ingestion(*flow.shown_by)
    console.rule("What there is now")
    with httpx.Client(
        base_url=settings.dagster_url,
        timeout=30,
        auth=settings.dagster_login,
        trust_env=proxies.stand_before(settings.dagster_url),
    ) as dagster:
        _run_jobs(dagster, [_LANDING_JOB, *(job for one in shown.values() for job in one.jobs)])
        failed = _print_assets(dagster, rows=rows)
    with _client(settings) as client:
        for demonstration in shown.values():
            _print_latency(client, demonstration)
    console.print(f"\nDagster UI   {settings.dagster_url}/asset-groups")
    console.print(f"API docs     {settings.front_door_url}/docs")
    console.print("`make up` starts the stack again with this data and keeps it running.")
    if failed:
        raise DemoError(f"checks failed: {', '.join(failed)}")


def _send(settings: Settings, shown: Demonstration) -> dict[str, int]:
    """Send what is shown of a flow twice; gives the rows that came of it."""
    with tempfile.TemporaryDirectory(prefix="ingestion-demo-") as folder, _client(settings) as client:
        console.rule(f"Making {shown.what}")
        _ingestion("send", *shown.make, folder)
        console.rule("Sending them")
        _ingestion("send", *shown.send, folder)
        before = _totals(client, shown)
        console.rule("Sending them again")
        _ingestion("send", *shown.again, folder)
        after = _totals(client, shown)
    if before != after:
        raise DemoError(f"sending again changed the tables: {before} before, {after} after")
    console.print("[green]0 new:[/green] every line was recognised.")
    return after


def _ingestion(*arguments: str, check: bool = True, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    code = subprocess.run(
        [Path(sys.executable).with_name("ingestion"), *arguments], check=False, stdout=output, stderr=output
    ).returncode
    if check and code != 0:
        raise DemoError(f"`ingestion {' '.join(arguments)}` ended with exit status {code}")
    return code


def _client(settings: Settings) -> httpx.Client:
    headers = {"X-API-Key": key_of(settings) or ""}
    base = settings.front_door_url
    return httpx.Client(
        base_url=f"{base}/api/v1", headers=headers, timeout=120, trust_env=proxies.stand_before(base)
    )


def _totals(client: httpx.Client, shown: Demonstration) -> dict[str, int]:
    answer = client.get(shown.statistics)
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


def _print_latency(client: httpx.Client, shown: Demonstration) -> None:
    """Send fresh payloads and wait for each answer."""
    seconds = []
    for number in range(LATENCY_REQUESTS):
        payload = shown.payload(uuid.uuid4().int % 2**32 + number)
        begun = time.monotonic()
        answer = client.post(shown.post_to, json=payload)
        if answer.status_code != httpx.codes.OK:
            raise DemoError(f"a payload was answered {answer.status_code}: {answer.text[:300]}")
        seconds.append(time.monotonic() - begun)
    seconds.sort()
    console.print(
        f"{shown.payload_is}, from request to answer with statistics: median "
        f"{seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s."
    )
