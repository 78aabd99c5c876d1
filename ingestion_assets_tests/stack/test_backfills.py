"""A backfill of many days on the whole stack: few runs, told by day; cancelled, it ends within seconds, and live payloads go on."""

import subprocess
import time
from pathlib import Path

import httpx
import msgspec

from ingestion_assets.samples.transcripts import messages
from ingestion_assets_tests import backfills
from ingestion_assets_tests.browser.ledger import ask, wait_until_ended, wait_until_lanes_are_free
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

CANCELLED_WITHIN_S = 10.0
USUALLY_READY_S = 20.0  # a stack that took longer to start stands on a machine that is busy or slow
EMPTY_DAYS = 240
LONG_AGO = ("2026-01-02", "2026-01-04")
PROJECT = Path(__file__).parents[2]


def send_message(stack: RunningStack, seed: int) -> tuple[int, float]:
    """Status and seconds of one message that waits for its outcome."""
    body = msgspec.json.encode({"messages": list(messages(lines=1, seed=seed))})
    started = time.monotonic()
    answer = httpx.post(
        f"{stack.url}/api/v1/ingest/batch", content=body, timeout=60,
        headers={"X-API-Key": stack.admin_token, "Content-Type": "application/json"},
    )  # fmt: skip
    return answer.status_code, time.monotonic() - started


def _make_full(stack: RunningStack, days: list[str], *, seed: int) -> None:
    """Payloads of today, as if they had come on these days, each of which gets one."""
    numbered = list(messages(lines=200 * len(days), seed=seed))
    for number, day in enumerate(days):
        body = msgspec.json.encode({"messages": numbered[200 * number : 200 * number + 200]})
        answer = httpx.post(
            f"{stack.url}/api/v1/ingest/batch", content=body, timeout=60,
            headers={"X-API-Key": stack.admin_token, "Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        ask(
            stack, "UPDATE ingestion.drops SET partition = %s, lane = %s WHERE id = %s RETURNING id", day, day,
            answer.headers["X-Receipt-Id"],
        )  # fmt: skip


def test_empty_days_are_one_run_in_three_and_told_each(stack: RunningStack) -> None:
    days = backfills.days_ago(last=EMPTY_DAYS, first=1)
    backfill = backfills.launch(stack, days)

    def over() -> bool:
        return backfills.status_of(stack, backfill) not in {"REQUESTED", "COMPLETED"}

    wait_until(over, seconds=150, what="the backfill to end")
    assert backfills.status_of(stack, backfill) == "COMPLETED_SUCCESS"
    runs = backfills.runs_of(stack, backfill)
    assert list(runs.values()) == ["SUCCESS"] * 3
    assert sorted(backfills.days_told(stack, list(runs))) == days


def test_cancelled_backfill_ends_at_once_and_live_goes_on(stack: RunningStack) -> None:
    full = backfills.days_ago(last=60, first=58)
    _make_full(stack, full, seed=3)
    backfill = backfills.launch(stack, backfills.days_ago(last=300, first=1))
    wait_until(
        lambda: "STARTED" in backfills.runs_of(stack, backfill).values(), seconds=60, what="its first run"
    )  # fmt: skip
    started = time.monotonic()
    backfills.cancel(stack, backfill)
    status, _ = send_message(stack, seed=4)
    assert status == 200, "live goes on"

    def over() -> bool:
        return set(backfills.runs_of(stack, backfill).values()) <= {"CANCELED", "SUCCESS", "FAILURE"}

    wait_until(over, seconds=60, what="the backfill's runs to end")
    took = time.monotonic() - started
    runs = backfills.runs_of(stack, backfill)
    assert "CANCELED" in runs.values(), runs
    assert "FAILURE" not in runs.values(), runs
    assert took < CANCELLED_WITHIN_S * max(1.0, stack.seconds_to_ready / USUALLY_READY_S)
    wait_until(
        lambda: backfills.status_of(stack, backfill) == "CANCELED",
        seconds=30,
        what="its last word",
    )
    assert backfills.runs_of(stack, backfill) == runs, "no run came after"
    wait_until_lanes_are_free(stack)
    states = "SELECT count(*) FROM ingestion.drops WHERE partition = ANY(%s) AND state = 'done'"
    assert ask(stack, states, full) == [(len(full),)], "their receipts stand"
    assert send_message(stack, seed=5)[0] == 200


def test_documented_command_starts_one_run_of_a_range_at_its_location(stack: RunningStack) -> None:
    page = (PROJECT / "docs" / "ui.md").read_text(encoding="utf-8")
    documented = page[page.index("dagster job launch") : page.index("dagster asset materialize")]
    command = documented.replace("2026-03-01", LONG_AGO[0]).replace("2026-03-31", LONG_AGO[1])
    environment = stack.environment | {"PATH": f"{PROJECT / '.venv' / 'bin'}:{stack.environment['PATH']}"}
    done = subprocess.run(
        ("/bin/sh", "-c", command), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=180
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    newest = """
        SELECT runs.run_id, run_body FROM runs JOIN run_tags USING (run_id)
        WHERE key = 'dagster/asset_partition_range_start' AND value = %s ORDER BY runs.id DESC LIMIT 1
    """
    ((run, body),) = ask(stack, newest, LONG_AGO[0])
    assert '"location_name": "ingestion_assets"' in body
    assert wait_until_ended(stack, run) == "SUCCESS"
    assert backfills.days_told(stack, [run]) == {"2026-01-02", "2026-01-03", "2026-01-04"}
