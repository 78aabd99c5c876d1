"""A backfill of many days on the whole stack: one run, told by day; cancelled, it ends within seconds, and live payloads go on."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from ingestion_assets.samples.transcripts import messages
from ingestion_assets_tests.browser.ledger import ask, run_status, wait_until_lanes_are_free
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

CANCELLED_WITHIN_S = 10.0
EMPTY_DAYS = 240
_RUNS = """
    SELECT runs.run_id, status FROM runs JOIN run_tags USING (run_id) WHERE key = 'dagster/backfill' AND value = %s
"""
_TOLD = "SELECT DISTINCT partition FROM event_logs WHERE run_id = ANY(%s) AND asset_key = %s AND partition IS NOT NULL"
_LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
_CANCEL = """
mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename ... on PythonError { message } } }
"""
_STATUS = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"


@pytest.fixture
def dagster(stack: RunningStack) -> Iterator[httpx.Client]:
    """Dagster's GraphQL, as the UI uses it."""
    with httpx.Client(base_url=stack.dagster_url, timeout=30) as client:
        yield client


def _asked(dagster: httpx.Client, query: str, **variables: Any) -> Any:
    said = dagster.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in said, said
    (answer,) = said["data"].values()
    assert answer.get("__typename") != "PythonError", answer
    return answer


def launch(dagster: httpx.Client, days: list[str]) -> str:
    """A backfill of the conversations of these days, as the page of their job launches it; its id."""
    location = {"repositoryLocationName": "ingestion_assets", "repositoryName": "__repository__"}
    selector = {"partitionSetName": "conversations_partition_set", "repositorySelector": location}
    return _asked(dagster, _LAUNCH, params={"selector": selector, "partitionNames": days})["backfillId"]


def send_message(stack: RunningStack, seed: int) -> tuple[int, float]:
    """Status and seconds of one message that waits for its outcome."""
    body = msgspec.json.encode({"messages": list(messages(lines=1, seed=seed))})
    started = time.monotonic()
    answer = httpx.post(
        f"{stack.url}/api/v1/ingest/batch", content=body, timeout=60,
        headers={"X-API-Key": stack.admin_token, "Content-Type": "application/json"},
    )  # fmt: skip
    return answer.status_code, time.monotonic() - started


def _days(*, last: int, first: int) -> list[str]:
    today = datetime.now(UTC).date()
    return [str(today - timedelta(days=ago)) for ago in range(last, first - 1, -1)]


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


def test_empty_days_are_one_run_in_three_and_told_each(stack: RunningStack, dagster: httpx.Client) -> None:
    days = _days(last=EMPTY_DAYS, first=1)
    backfill = launch(dagster, days)

    def over() -> bool:
        return _asked(dagster, _STATUS, id=backfill)["status"] not in {"REQUESTED", "COMPLETED"}

    try:
        wait_until(over, seconds=150, what="the backfill to end")
    finally:
        print("DIAG", _asked(dagster, _STATUS, id=backfill), ask(stack, _RUNS, backfill))
        for (event,) in ask(
            stack,
            "SELECT event FROM event_logs WHERE run_id = ANY(%s) AND (dagster_event_type IN ('STEP_FAILURE','PIPELINE_FAILURE','ENGINE_EVENT')) LIMIT 8",
            [r for r, _ in ask(stack, _RUNS, backfill)],
        ):
            print("DIAG", event[:1500])
        print(
            "DIAG",
            (stack.home / "logs" / "daemon.log").read_text()[-1500:]
            if (stack.home / "logs" / "daemon.log").exists()
            else list(stack.home.iterdir()),
        )
    found = ask(stack, _RUNS, backfill)
    assert [status for _, status in found] == ["SUCCESS"] * 3
    told = ask(stack, _TOLD, [run for run, _ in found], '["conversations", "ingestion_log"]')
    assert sorted(day for (day,) in told) == days


def test_cancelled_backfill_ends_at_once_and_live_goes_on(stack: RunningStack, dagster: httpx.Client) -> None:
    full = _days(last=60, first=58)
    _make_full(stack, full, seed=3)
    backfill = launch(dagster, _days(last=300, first=1))
    wait_until(
        lambda: "STARTED" in {status for _, status in ask(stack, _RUNS, backfill)}, seconds=60, what="its first run"
    )  # fmt: skip
    started = time.monotonic()
    _asked(dagster, _CANCEL, id=backfill)
    status, _ = send_message(stack, seed=4)
    assert status == 200, "live goes on"

    def over() -> bool:
        return {one for _, one in ask(stack, _RUNS, backfill)} <= {"CANCELED", "SUCCESS"}

    wait_until(over, seconds=60, what="the backfill's runs to end")
    took = time.monotonic() - started
    runs = [run for run, _ in ask(stack, _RUNS, backfill)]
    assert "CANCELED" in {run_status(stack, run) for run in runs}
    assert took < CANCELLED_WITHIN_S
    wait_until(
        lambda: _asked(dagster, _STATUS, id=backfill)["status"] == "CANCELED",
        seconds=30,
        what="its last word",
    )
    assert [run for run, _ in ask(stack, _RUNS, backfill)] == runs, "no run came after"
    wait_until_lanes_are_free(stack)
    states = "SELECT count(*) FROM ingestion.drops WHERE partition = ANY(%s) AND state = 'done'"
    assert ask(stack, states, full) == [(len(full),)], "their receipts stand"
    assert send_message(stack, seed=5)[0] == 200
