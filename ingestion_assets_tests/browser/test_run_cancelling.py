"""Cancel in the UI ends a run within seconds and loses nothing."""

from pathlib import Path

from ingestion_assets.samples.transcripts import write_transcripts
from ingestion_assets_tests.browser.conftest import LINES, ingestion, send
from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.browser.ledger import (
    ask,
    canceled_at,
    run_status,
    wait_until_done,
    wait_until_ended,
    wait_until_lanes_are_free,
)
from ingestion_assets_tests.browser.tables import differences, stored
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

CANCELED_WITHIN_S = 5.0
_DISPATCHED = """
    SELECT run_id FROM runs JOIN run_tags USING (run_id)
    WHERE key = '.dagster/ingestion_dispatch' AND status IN ('STARTING', 'STARTED') ORDER BY runs.id DESC LIMIT 1
"""
_CLAIMED = "SELECT count(*) FROM ingestion.drops WHERE state = 'claimed' AND run_id = %s"
_PAUSED = """
    SELECT count(*) FROM ingestion.drops
    WHERE state = 'landed' AND not_before > now() AND errors -> 0 ->> 'code' = 'run_cancelled'
"""
_ATTEMPTS = "SELECT max(attempts) FROM ingestion.drops"


def test_payloads_of_a_cancelled_run_wait_until_they_are_resumed(
    ui: DagsterUI, stack: RunningStack, received_day: str, tmp_path: Path
) -> None:
    """A rebuild holds the lane while a backlog gathers; the run that takes the backlog is cancelled at work."""
    written = write_transcripts(tmp_path, sessions=8, lines=4000, seed=9)
    ui.open_group("conversations")
    rebuild = ui.materialize("Materialize all", day=received_day)
    sender = send(stack, tmp_path / "projects", "--no-wait")
    wait_until(lambda: ask(stack, _DISPATCHED), seconds=60, what="a run for the backlog")
    run = ask(stack, _DISPATCHED)[0][0]
    ui.open_run(run)
    ui.ask_to_cancel()
    wait_until(lambda: ask(stack, _CLAIMED, run)[0][0] > 0, seconds=60, what="the run to claim payloads")
    _cancel(ui, stack, run)
    ui.keep("canceled-run")
    assert wait_until_ended(stack, rebuild) == "SUCCESS"

    said, _ = sender.communicate(timeout=120)
    assert sender.returncode == 0, said
    paused = ask(stack, _PAUSED)[0][0]
    assert paused > 0
    assert f"run {run} was cancelled" in " ".join(ingestion(stack, "drops", "waiting").split())
    assert ingestion(stack, "drops", "resume") == f"{paused} payloads can be taken now.\n"
    wait_until_done(stack)
    wait_until_lanes_are_free(stack)
    assert ask(stack, _ATTEMPTS)[0][0] == 0, "a run that a person cancels is nobody's fault"
    accounted = "SELECT count(*), sum(records) FROM ingestion.drops WHERE state = 'done'"
    assert ask(stack, accounted)[0][1] >= LINES + written.lines
    clean = stored(stack)
    ui.open_group("conversations")
    assert wait_until_ended(stack, ui.materialize("Materialize all", day=received_day)) == "SUCCESS"
    assert differences(clean, stored(stack)) == []


def test_cancelled_rebuild_leaves_the_tables_as_they_were(
    ui: DagsterUI, stack: RunningStack, received_day: str
) -> None:
    """After the test above the day holds so much that its rebuild takes long enough to be cancelled."""
    before = stored(stack)
    ui.open_group("conversations")
    run = ui.materialize("Materialize all", day=received_day)
    wait_until(lambda: run_status(stack, run) == "STARTED", seconds=30, what="the rebuild to start")
    ui.ask_to_cancel()
    _cancel(ui, stack, run)
    ui.keep("canceled-rebuild")
    wait_until_lanes_are_free(stack)
    assert differences(before, stored(stack)) == []


def _cancel(ui: DagsterUI, stack: RunningStack, run: str) -> None:
    said = ui.cancel()
    took = canceled_at(stack, run) - said
    print(f"canceled {took:.1f} s after the click")
    assert took <= CANCELED_WITHIN_S
    assert run_status(stack, run) == "CANCELED"
