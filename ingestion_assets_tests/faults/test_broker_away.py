"""The broker is stopped while all flows take payloads: no run fails for want of it, and each flow goes on soon after its return."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from ingestion_assets.stack.places import Places
from ingestion_assets.stack.supervision import Supervisor
from ingestion_assets_tests.faults.campaign import DEADLINE_S
from ingestion_assets_tests.faults.conftest import Cramped
from ingestion_assets_tests.faults.convergence import come_to_rest
from ingestion_assets_tests.faults.load import Senders
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
VALKEY = "stores:valkey"
OUTAGE_S = 12.0  # two ticks of each sensor, and longer than Celery's first waits together
BACK_S = 15.0


def _runs(stack: RunningStack, *statuses: str) -> set[str]:
    query = "SELECT run_id FROM public.runs WHERE status = ANY(%(statuses)s)"
    return {row["run_id"] for row in rows(stack, query, statuses=list(statuses))}


def _a_sensor_says_why(stack: RunningStack) -> bool:
    query = "SELECT FROM public.job_ticks WHERE tick_body LIKE '%%broker does not answer%%' LIMIT 1"
    return len(rows(stack, query)) > 0


def _flows(stack: RunningStack, which: str, **parameters: object) -> set[str]:
    return {
        row["flow"]
        for row in rows(stack, f"SELECT DISTINCT flow FROM ingestion.drops WHERE {which}", **parameters)
    }


@contextmanager
def _without_broker(stack: RunningStack) -> Iterator[None]:
    supervisor = Supervisor(Places(stack.home).supervisor_socket)
    supervisor.call("stopProcess", VALKEY)
    try:
        yield
    finally:
        supervisor.call("startProcess", VALKEY)


def test_runs_wait_for_the_broker_and_none_fails(cramped: Cramped) -> None:
    running = cramped.campaign
    stack = running.stack
    failed_before = _runs(stack, "FAILURE")
    with Senders(stack, running.payloads(6)) as senders:
        with _without_broker(stack):
            outage_ends = time.monotonic() + OUTAGE_S
            wait_until(lambda: _runs(stack, "QUEUED"), seconds=OUTAGE_S, what="runs in the queue")
            wait_until(lambda: _a_sensor_says_why(stack), seconds=OUTAGE_S, what="a tick with the reason")
            health = httpx.get(f"{stack.url}/health", timeout=10).json()
            assert health["dependencies"]["redis"]["status"] == "down"
            wait_until(lambda: time.monotonic() > outage_ends, seconds=OUTAGE_S, what="the outage's end")
            lanes = rows(stack, "SELECT DISTINCT flow, lane FROM ingestion.drops WHERE state = 'landed'")
            assert len(_runs(stack, "QUEUED")) <= len(lanes)
            waiting = _flows(stack, "state = 'landed'")
            assert waiting == {*running.loads}
            [now] = rows(stack, "SELECT clock_timestamp()")
        back = time.monotonic()
        wait_until(
            lambda: _flows(stack, "claimed_at > %(clock_timestamp)s", **now) == waiting,
            seconds=BACK_S, what="each flow to be at work after the broker's return",
        )  # fmt: skip
        going = time.monotonic() - back
        senders.finish(timeout_s=DEADLINE_S)
        rest = come_to_rest(stack, senders.acknowledged, deadline_s=DEADLINE_S)
    print(f"{len(senders.acknowledged)} payloads; after the broker's return each flow claimed something within {going:.1f} s, all was done"
          f" within {rest.finished_at - back:.1f} s")  # fmt: skip
    assert _runs(stack, "FAILURE") == failed_before
    running.note(senders)
    found = running.audit()
    assert found.is_clean, found
