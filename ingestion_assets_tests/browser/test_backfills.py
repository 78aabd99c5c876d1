"""A day that is rebuilt, from the UI or the command line, gives the same tables."""

import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.browser.ledger import (
    ask,
    run_status,
    wait_until_ended,
    wait_until_lanes_are_free,
)
from ingestion_assets_tests.browser.tables import differences, stored
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

PROJECT = Path(__file__).parents[2]


def test_backfill_from_the_ui(ui: DagsterUI, stack: RunningStack, received_day: str) -> None:
    before = stored(stack)
    ui.open_group("conversations")
    run = ui.materialize("Materialize all", day=received_day)
    assert wait_until_ended(stack, run) == "SUCCESS"
    ui.open_run(run)
    ui.expect_run("Success")
    ui.keep("backfill-run")
    assert differences(before, stored(stack)) == []
    wait_until_lanes_are_free(stack)


@pytest.mark.parametrize("asset", ["raw_batches", "ingestion_log"])
def test_one_asset_alone_from_the_ui(
    ui: DagsterUI, stack: RunningStack, received_day: str, asset: str
) -> None:
    before = stored(stack)
    ui.open_asset(f"conversations/{asset}", view="overview")
    run = ui.materialize("Materialize", day=received_day)
    assert wait_until_ended(stack, run) == "SUCCESS"
    assert ask(stack, "SELECT * FROM ingestion.leases WHERE holder = %s", run) == []
    assert differences(before, stored(stack)) == []


def test_day_without_payloads_from_the_ui(ui: DagsterUI, stack: RunningStack, received_day: str) -> None:
    before = stored(stack)
    eve = date.fromisoformat(received_day) - timedelta(days=1)
    ui.open_group("conversations")
    run = ui.materialize("Materialize all", day=eve.isoformat())
    assert wait_until_ended(stack, run) == "SUCCESS"
    assert differences(before, stored(stack)) == []


def test_re_executed_run_of_the_front_door_takes_what_has_landed_since(
    ui: DagsterUI, stack: RunningStack, received_day: str
) -> None:
    assert received_day
    before = stored(stack)
    query = """
        SELECT run_id FROM runs JOIN run_tags USING (run_id)
        WHERE key = '.dagster/ingestion_dispatch' AND status = 'SUCCESS' ORDER BY runs.id DESC LIMIT 1
    """
    first = ask(stack, query)[0][0]
    ui.open_run(first)
    ui.press("Re-execute all (*)")
    ui.page.wait_for_url(lambda address: "/runs/" in address and first not in address)
    run = ui.page.url.rpartition("/")[2].partition("?")[0]
    assert wait_until_ended(stack, run) == "SUCCESS"
    wait_until_lanes_are_free(stack)
    assert differences(before, stored(stack)) == []


def _dagster(stack: RunningStack, *arguments: str) -> str:
    """Run the `dagster` CLI from the root of the repository, as a person does whose shell knows the stack."""
    command = f'eval "$(ingestion env)" && exec dagster {" ".join(arguments)}'
    done = subprocess.run(
        ("/bin/sh", "-c", command), cwd=PROJECT, env=_shell(stack), capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _shell(stack: RunningStack) -> dict[str, str]:
    names = {"INGESTION_HOME", "INGESTION_PORT", "INGESTION_WEBSERVER_PORT"}
    kept = {
        name: value
        for name, value in stack.environment.items()
        if name in names or not name.startswith(("INGESTION_", "DAGSTER_"))
    }
    return kept | {"PATH": f"{PROJECT / '.venv' / 'bin'}:{kept['PATH']}"}


def test_backfill_from_the_command_line(stack: RunningStack, received_day: str) -> None:
    before = stored(stack)
    _dagster(
        stack,
        "job backfill -w workspace.yaml -l ingestion_assets -j conversations --noprompt --partitions",
        received_day,
    )
    query = """
        SELECT run_id FROM runs JOIN run_tags USING (run_id)
        WHERE key = 'dagster/backfill' AND pipeline_name = 'conversations' ORDER BY runs.id DESC LIMIT 1
    """
    wait_until(lambda: ask(stack, query), seconds=30, what="the backfill's run")
    run = ask(stack, query)[0][0]
    assert wait_until_ended(stack, run) == "SUCCESS"
    assert differences(before, stored(stack)) == []


def test_materialize_from_the_command_line(stack: RunningStack, received_day: str) -> None:
    before = stored(stack)
    _dagster(
        stack,
        "asset materialize -m ingestion_assets.definitions --select group:conversations --partition",
        received_day,
    )
    run = ask(stack, "SELECT run_id FROM runs ORDER BY id DESC LIMIT 1")[0][0]
    assert run_status(stack, run) == "SUCCESS"
    assert ask(stack, "SELECT * FROM ingestion.leases WHERE holder = %s", run) == []
    assert differences(before, stored(stack)) == []
