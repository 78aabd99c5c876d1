"""What must hold once a hurt system has come to rest, read from its stores: the laws of the kill tests."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import psycopg
import redis

from ingestion_assets.modules.web.queue_intake import QUEUE, TAKEN
from ingestion_assets_tests.faults.load import Acknowledged, Load
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.stacks import RunningStack

LOOK_S = 0.25
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
    """Wait until every acknowledged payload is done or failed, and no run, lane, dispatch, claim or job is left open.

    Raises `AssertionError` with what is still open at the deadline.
    """
    until = time.monotonic() + deadline_s
    finished_at: float | None = None
    receipts = [one.receipt for one in acknowledged]
    while True:
        try:
            still_open = unfinished(stack, receipts)
            if not still_open:
                finished_at = finished_at or time.monotonic()
                still_open = _said(stack, _HELD) + _queued(stack)
                if not still_open:
                    return Rest(finished_at=finished_at, quiet_at=time.monotonic())
        except (psycopg.OperationalError, redis.RedisError) as error:
            still_open = [f"not to be asked: {error}"]
        if time.monotonic() > until:
            raise AssertionError(
                f"still open after {deadline_s:.0f} s:\n" + "\n".join([*still_open[:20], *_story(stack)])
            )
        time.sleep(LOOK_S)


def unfinished(stack: RunningStack, receipts: Sequence[str]) -> list[str]:
    """Which of the receipts, or of the payloads that the ledger knows, tell no outcome yet, and which segments it does not know."""
    missing = rows(
        stack,
        "SELECT 'receipt ' || asked || ' has no drop' AS said FROM unnest(%(receipts)s::uuid[]) asked"
        " WHERE NOT EXISTS (SELECT FROM ingestion.drops WHERE id = asked)",
        receipts=list(receipts),
    )
    # Who sent a stream without waiting has no receipts of its parts: they may lie there without rows for a moment.
    root = stack.home / "landing"
    segments = [path.relative_to(root).as_posix() for path in root.glob("segments/*/*/*.seg")]
    without_rows = rows(
        stack,
        "SELECT path || ' has no rows' AS said FROM unnest(%(segments)s::text[]) AS path"
        " WHERE NOT EXISTS (SELECT FROM ingestion.drops WHERE segment = path)"
        " AND NOT EXISTS (SELECT FROM ingestion.unreadable_segments unreadable WHERE unreadable.path = path.path)",
        segments=segments,
    )
    return [row["said"] for row in [*missing, *without_rows]] + _said(stack, _OPEN)


def last_finished(stack: RunningStack) -> str:
    """The payload that was finished last, for the reader of a slow round."""
    [said] = _said(
        stack,
        "SELECT flow || ' ' || coalesce(attributes ->> 'via', attributes ->> 'endpoint', '') || ', '"
        " || round(extract(epoch FROM finished_at - received_at), 1) || ' s after it was accepted, attempts '"
        " || attempts || ', deferrals ' || deferrals AS said FROM ingestion.drops"
        " WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 1",
    )
    return said


def _story(stack: RunningStack) -> list[str]:
    """The newest runs and dispatches, for the reader of a failure."""
    return _said(
        stack,
        "SELECT 'newest: ' || run_id || ' ' || status || ' ' || update_timestamp AS said FROM public.runs"
        " ORDER BY id DESC LIMIT 8",
    ) + _said(stack, _HELD)


def _said(stack: RunningStack, query: str) -> list[str]:
    return [row["said"] for row in rows(stack, query, final=list(FINAL))]


def _queued(stack: RunningStack) -> list[str]:
    """Jobs that nobody took, or that a front door has in hand."""
    with redis.Redis.from_url(stack.environment["INGESTION_REDIS_URL"]) as queues:
        lists = [QUEUE.encode(), *queues.keys(f"{TAKEN}:*")]
        return [f"{name.decode()} holds {length} jobs" for name in lists if (length := queues.llen(name))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How the payloads of a campaign ended; every list and number should be empty or 0."""

    lost: list[str]
    """Acknowledged payloads whose receipt does not tell an outcome for all their records."""
    failed: list[str]
    """Payloads of whichever flow that are `failed`, with the reason."""
    doubled: int
    """Records that two payloads were told to have stored."""
    different: list[str]
    """Where the tables differ from the oracles'."""

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.failed or self.doubled or self.different)


def audit(stack: RunningStack, loads: Mapping[str, Load], acknowledged: Sequence[Acknowledged]) -> Audit:
    """Compare the receipts of what was acknowledged, and the tables of everything that was sent, with the oracles."""
    findings = {flow: load.audit(stack) for flow, load in loads.items()}
    return Audit(
        lost=_lost(stack, loads, acknowledged),
        failed=_said(
            stack,
            "SELECT flow || ' ' || id || ': ' || coalesce(errors::text, 'no reason') AS said FROM ingestion.drops"
            " WHERE state = 'failed'",
        ),
        doubled=sum(abs(found.doubled) for found in findings.values()),
        different=[f"{flow}: {said}" for flow, found in findings.items() for said in found.different],
    )


def _lost(stack: RunningStack, loads: Mapping[str, Load], acknowledged: Sequence[Acknowledged]) -> list[str]:
    lost: list[str] = []
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=20) as client:
        for one in acknowledged:
            answer = client.get(f"/api/v1/receipts/{one.receipt}")
            receipt = answer.json()
            told = receipt.get("state") == "failed" and receipt["errors"]
            if not told and not (receipt.get("state") == "done" and _accounts(loads, receipt, one.records)):
                lost.append(f"{one.receipt}: {answer.status_code} {receipt}")
    return lost


def _accounts(loads: Mapping[str, Load], receipt: Mapping[str, object], wanted: int | None) -> bool:
    """Whether a finished receipt's result accounts for all records."""
    result = receipt["result"]
    return isinstance(result, dict) and wanted in (None, loads[str(receipt["flow"])].records_in(result))
