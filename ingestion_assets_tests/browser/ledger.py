"""What the ledger and Dagster's storage say, for tests that act through the browser."""

from typing import Any

import psycopg

from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack


def ask(stack: RunningStack, query: Any, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query on the stack's PostgreSQL."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        return connection.execute(query, values).fetchall()


def run_status(stack: RunningStack, run_id: str) -> str:
    return ask(stack, "SELECT status FROM runs WHERE run_id = %s", run_id)[0][0]


def canceled_at(stack: RunningStack, run_id: str) -> float:
    """When Dagster noted that the run is canceled, in seconds since 1970."""
    rows = ask(
        stack,
        "SELECT extract(epoch FROM timestamp AT TIME ZONE 'UTC') FROM event_logs WHERE run_id = %s"
        " AND dagster_event_type = 'PIPELINE_CANCELED'",
        run_id,
    )
    return float(rows[0][0])


def wait_until_ended(stack: RunningStack, run_id: str, *, seconds: float = 120) -> str:
    """The run's status once it is over."""
    over = {"SUCCESS", "FAILURE", "CANCELED"}
    wait_until(lambda: run_status(stack, run_id) in over, seconds=seconds, what=f"run {run_id} to end")
    return run_status(stack, run_id)


def wait_until_done(stack: RunningStack) -> None:
    """Return once every accepted payload is done."""
    query = "SELECT count(*) FROM ingestion.drops WHERE state <> 'done'"
    wait_until(lambda: ask(stack, query)[0][0] == 0, seconds=120, what="all payloads to be done")


def wait_until_lanes_are_free(stack: RunningStack) -> None:
    """Return once no run holds a lane."""
    query = "SELECT count(*) FROM ingestion.leases"
    wait_until(lambda: ask(stack, query)[0][0] == 0, seconds=30, what="all lanes to be free")


def day_of(stack: RunningStack) -> str:
    """The partition of the newest payload."""
    return ask(stack, "SELECT partition FROM ingestion.drops ORDER BY id DESC LIMIT 1")[0][0]
