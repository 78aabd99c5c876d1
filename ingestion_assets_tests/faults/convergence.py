"""What must hold once a hurt system has come to rest, read from its stores: the laws of the kill tests."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from pymongo import MongoClient

from ingestion_assets_tests.conversations.oracle import Tables, expected
from ingestion_assets_tests.conversations.stored import differences, tables
from ingestion_assets_tests.faults.load import Acknowledged, Payload
from ingestion_assets_tests.stacks import RunningStack

LOOK_S = 0.1
FINAL = ("SUCCESS", "FAILURE", "CANCELED")

_OPEN = """
    SELECT 'drop ' || id || ' is ' || state || ' for run ' || coalesce(claim, '-') || ', attempts ' || attempts
        || ', deferrals ' || deferrals || ', not before ' || coalesce(not_before::text, '-') AS said
    FROM ingestion.drops WHERE state IN ('landed', 'claimed', 'held')
"""
_HELD = """
    SELECT 'run ' || runs.run_id || ' is ' || runs.status || ', its process ' || CASE
        WHEN h.run_id IS NULL THEN 'never came' WHEN h.ended_at IS NOT NULL THEN 'ended'
        ELSE 'beat ' || (now() - h.beat_at)::text || ' ago' END AS said
    FROM public.runs LEFT JOIN ingestion.run_heartbeats h USING (run_id)
    WHERE runs.status <> ALL (%(final)s)
    UNION ALL
    SELECT 'lane ' || lane || ' is leased to ' || holder || ' until ' || expires_at FROM ingestion.leases
    UNION ALL
    SELECT 'dispatch ' || id || ' is ' || state || ' for ' || (now() - requested_at)::text || ', run '
        || coalesce(run_id, '-') FROM ingestion.dispatches WHERE state IN ('pending', 'claimed')
    UNION ALL
    SELECT 'process ' || pid || ' beats for run ' || run_id FROM ingestion.run_heartbeats WHERE ended_at IS NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """When all payloads were finished, and when nothing was held any more (monotonic)."""

    finished_at: float
    quiet_at: float


def come_to_rest(stack: RunningStack, acknowledged: Sequence[Acknowledged], *, deadline_s: float) -> Rest:
    """Wait until every acknowledged payload is done or failed, and no run, lane, dispatch or claim is left open.

    Raises `AssertionError` with what is still open at the deadline.
    """
    until = time.monotonic() + deadline_s
    finished_at: float | None = None
    receipts = [one.receipt for one in acknowledged]
    while True:
        try:
            still_open = _unfinished(stack, receipts)
            if not still_open:
                finished_at = finished_at or time.monotonic()
                still_open = _said(stack, _HELD)
                if not still_open:
                    return Rest(finished_at=finished_at, quiet_at=time.monotonic())
        except psycopg.OperationalError as error:
            still_open = [f"PostgreSQL: {error}"]
        if time.monotonic() > until:
            raise AssertionError(
                f"still open after {deadline_s:.0f} s:\n" + "\n".join([*still_open[:20], *_story(stack)])
            )
        time.sleep(LOOK_S)


def _unfinished(stack: RunningStack, receipts: Sequence[str]) -> list[str]:
    missing = _rows(
        stack,
        "SELECT 'receipt ' || asked || ' has no drop' AS said FROM unnest(%(receipts)s::uuid[]) asked"
        " WHERE NOT EXISTS (SELECT FROM ingestion.drops WHERE id = asked)",
        receipts=list(receipts),
    )
    return [row["said"] for row in missing] + _said(stack, _OPEN)


def _story(stack: RunningStack) -> list[str]:
    """The newest runs and dispatches, for the reader of a failure."""
    return _said(
        stack,
        "SELECT 'newest: ' || run_id || ' ' || status || ' ' || update_timestamp AS said FROM public.runs"
        " ORDER BY id DESC LIMIT 8",
    ) + _said(stack, _HELD)


def _said(stack: RunningStack, query: str) -> list[str]:
    return [row["said"] for row in _rows(stack, query, final=list(FINAL))]


def _rows(stack: RunningStack, query: str, **parameters: Any) -> list[dict[str, Any]]:
    url = stack.environment["INGESTION_POSTGRES_URL"]
    with (
        psycopg.connect(url, autocommit=True, connect_timeout=5) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return cursor.execute(query.encode(), parameters).fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How the payloads of a campaign ended; every list and number but `acknowledged` should be empty or 0."""

    acknowledged: int
    lost: list[str]
    """Acknowledged payloads whose receipt does not tell an outcome."""
    failed: list[str]
    doubled: int
    """Records that two payloads were told to have stored."""
    different: list[str]
    """Where the tables differ from the oracle's."""


def audit(stack: RunningStack, acknowledged: Sequence[Acknowledged], sent: Sequence[Payload]) -> Audit:
    """Compare receipts and tables with what was sent."""
    wanted = expected((line, payload.session) for payload in sent for line in payload.lines)
    assert wanted.failed == 0, "the generator makes valid lines only"
    lost, failed = _receipts(stack, acknowledged)
    [row] = _rows(
        stack,
        "SELECT coalesce(sum((result -> 'stats' ->> 'messages_processed')::int), 0) AS stored"
        " FROM ingestion.drops WHERE NOT attributes ? 'alias_of'",
    )
    return Audit(
        acknowledged=len(acknowledged), lost=lost, failed=failed, doubled=row["stored"] - wanted.stored,
        different=differences(_tables(stack), wanted),
    )  # fmt: skip


def _receipts(stack: RunningStack, acknowledged: Sequence[Acknowledged]) -> tuple[list[str], list[str]]:
    lost: list[str] = []
    failed: list[str] = []
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=20) as client:
        for one in acknowledged:
            answer = client.get(f"/api/v1/receipts/{one.receipt}")
            receipt = answer.json()
            state = receipt.get("state")
            if answer.status_code == 200 and state == "failed" and receipt["errors"]:
                failed.append(f"{one.receipt}: {receipt['errors']}")
            elif state != "done" or receipt["result"]["stats"]["messages_received"] != len(one.payload.lines):
                lost.append(f"{one.receipt}: {answer.status_code} {receipt}")
    return lost, failed


def _tables(stack: RunningStack) -> Tables:
    with MongoClient[dict[str, Any]](stack.environment["INGESTION_MONGODB_URL"], tz_aware=True) as client:
        return tables(client["ingestion"])
