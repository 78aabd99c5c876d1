"""Backfills of a running stack, launched and cancelled as the UI does it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from ingestion_assets_tests.browser.ledger import ask
from ingestion_assets_tests.stacks import RunningStack

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
_RUNS = """
    SELECT runs.run_id, status FROM runs JOIN run_tags USING (run_id) WHERE key = 'dagster/backfill' AND value = %s
"""
_TOLD = "SELECT DISTINCT partition FROM event_logs WHERE run_id = ANY(%s) AND asset_key = %s AND partition IS NOT NULL"


def launch(stack: RunningStack, days: Sequence[str]) -> str:
    """A backfill of the conversations of these days; its id."""
    location = {"repositoryLocationName": "ingestion_assets", "repositoryName": "__repository__"}
    selector = {"partitionSetName": "conversations_partition_set", "repositorySelector": location}
    return _asked(stack, _LAUNCH, params={"selector": selector, "partitionNames": list(days)})["backfillId"]


def cancel(stack: RunningStack, backfill: str) -> None:
    """Ask for its end."""
    _asked(stack, _CANCEL, id=backfill)


def status_of(stack: RunningStack, backfill: str) -> str:
    """Dagster's word on it, such as `COMPLETED_SUCCESS`."""
    return _asked(stack, _STATUS, id=backfill)["status"]


def runs_of(stack: RunningStack, backfill: str) -> dict[str, str]:
    """The status of each of its runs."""
    return dict(ask(stack, _RUNS, backfill))


def days_told(stack: RunningStack, runs: Sequence[str]) -> set[str]:
    """The days that these runs have told the last asset of."""
    return {day for (day,) in ask(stack, _TOLD, list(runs), '["conversations", "ingestion_log"]')}


def days_ago(*, last: int, first: int) -> list[str]:
    """Days before today, the oldest first."""
    today = datetime.now(UTC).date()
    return [str(today - timedelta(days=ago)) for ago in range(last, first - 1, -1)]


def _asked(stack: RunningStack, query: str, **variables: Any) -> Any:
    with httpx.Client(base_url=stack.dagster_url, timeout=60) as client:
        said = client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in said, said
    (answer,) = said["data"].values()
    assert answer.get("__typename") != "PythonError", answer
    return answer
