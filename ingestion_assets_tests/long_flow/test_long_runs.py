"""Runs of many steps in a whole stack: they are paused, resumed and cancelled within a step, and lose one step at most."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import expect
from websockets.sync.client import connect

from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.browser.dagster_ui import chromium, dagster_ui
from ingestion_assets_tests.long_flow.flow import NAME
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack, running_stack

pytestmark = pytest.mark.slow
RECEIPTS = "/api/v1/receipts"
PROJECT = Path(__file__).parents[2]
FLOW_MODULE = "ingestion_assets_tests.long_flow.flow"
STEP_S = 0.5
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """With the flow of the tests, which its programs find by `PYTHONPATH`."""
    chosen = {
        "flows": FLOW_MODULE,
        "workers_default": 2,
        "workers_gpu": 0,
        "workers_batch": 0,
        "heartbeat_s": 0.5,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT))
        with running_stack(tmp_path_factory.mktemp("stack"), **chosen) as running:
            yield running


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def ledger(stack: RunningStack) -> sa.Engine:
    return engine(stack.environment["INGESTION_POSTGRES_URL"])


def begin(client: httpx.Client, steps: int) -> str:
    """A payload whose run has done some steps of it."""
    answer = client.post("/api/v1/long-tests", json={"steps": steps, "step_s": STEP_S})
    assert answer.status_code == 202, answer.text
    wait_until(lambda: step_of(client, answer.json()["id"]) >= 2, seconds=PATIENCE_S, what="some steps")
    return answer.json()["id"]


def receipt(client: httpx.Client, drop: str) -> dict:
    return client.get(f"{RECEIPTS}/{drop}").raise_for_status().json()


def step_of(client: httpx.Client, drop: str) -> int:
    progress = receipt(client, drop)["progress"]
    return progress["state"]["step"] if progress else 0


def begun(ledger: sa.Engine, drop: str) -> list[tuple[int, bool]]:
    """The steps that runs began, in order, and whether they came to their end."""
    query = sa.text(f"SELECT step, done_at IS NOT NULL FROM {NAME}.begun WHERE drop_id = :drop ORDER BY at")
    with ledger.connect() as connection:
        return [(step, done) for step, done in connection.execute(query, {"drop": UUID(drop)})]


def run_process(ledger: sa.Engine, run_id: str) -> tuple[int, int]:
    """Processes of the worker that beats for a run, and of the child that executes it."""
    query = sa.text(
        "SELECT worker_pid, pid FROM ingestion.run_heartbeats WHERE run_id = :run AND ended_at IS NULL"
    )
    with ledger.connect() as connection:
        worker_pid, pid = connection.execute(query, {"run": run_id}).one()
        return worker_pid, pid


def test_the_page_of_a_run_says_how_far_it_is(client: httpx.Client, stack: RunningStack) -> None:
    drop = begin(client, steps=1000)
    with chromium() as browser, dagster_ui(browser, stack.dagster_url) as ui:
        ui.open_run(receipt(client, drop)["run_id"])
        ui.expect_run("Started")
        expect(ui.page.get_by_text(re.compile(rf"Payload {drop}: step \d+, of 1000")).first).to_be_visible()
        ui.keep("long-step")
    assert client.post(f"{RECEIPTS}/{drop}/cancel").status_code == 202
    until_state(client, drop, "failed")


def until_state(client: httpx.Client, drop: str, state: str) -> dict:
    wait_until(
        lambda: receipt(client, drop)["state"] == state, seconds=PATIENCE_S, what=f"{drop} to be {state}"
    )
    return receipt(client, drop)


def test_pause_resume_and_cancel_act_within_a_step(client: httpx.Client, ledger: sa.Engine) -> None:
    drop = begin(client, steps=1000)
    assert client.post(f"{RECEIPTS}/{drop}/pause").status_code == 202
    at_pause = len(begun(ledger, drop))
    until_state(client, drop, "held")
    held_at = begun(ledger, drop)
    assert len(held_at) <= at_pause + 1
    assert all(done for _, done in held_at)
    assert client.post(f"{RECEIPTS}/{drop}/resume").status_code == 200
    wait_until(lambda: len(begun(ledger, drop)) > len(held_at), seconds=PATIENCE_S, what="it to go on")
    assert client.post(f"{RECEIPTS}/{drop}/cancel").status_code == 202
    at_cancel = len(begun(ledger, drop))
    cancelled = until_state(client, drop, "failed")
    steps = [step for step, _ in begun(ledger, drop)]
    assert len(steps) <= at_cancel + 1
    assert steps == list(range(len(steps)))  # none twice, none left out
    assert (cancelled["errors"][0]["code"], cancelled["attempts"]) == ("cancelled", 0)


@pytest.mark.parametrize("how", ["drained", "killed"])
def test_a_worker_that_goes_loses_one_step_at_most(client: httpx.Client, ledger: sa.Engine, how: str) -> None:
    drop = begin(client, steps=12)
    worker, child = run_process(ledger, receipt(client, drop)["run_id"])
    os.kill(*((worker, signal.SIGTERM) if how == "drained" else (child, signal.SIGKILL)))
    done = until_state(client, drop, "done")
    steps = begun(ledger, drop)
    lost = [step for step, ended in steps if not ended]
    assert len(lost) <= (0 if how == "drained" else 1), steps
    assert sorted({step for step, _ in steps}) == list(range(12))
    assert len(steps) == 12 + len(lost)
    assert done["attempts"] == 0, "the run had come on"
    assert step_of(client, drop) == 12


def test_progress_comes_in_order_by_both_ways_and_goes_on_after_a_break(
    client: httpx.Client, stack: RunningStack
) -> None:
    drop = begin(client, steps=14)
    address = f"{stack.url.replace('http://', 'ws://')}{RECEIPTS}/{drop}/events"
    seen: list[int] = []
    with connect(address, additional_headers={"X-API-Key": stack.admin_token}) as socket:
        while len(seen) < 3:
            said = json.loads(socket.recv(timeout=PATIENCE_S))
            seen.append(said["receipt"]["progress"]["state"]["step"])
    with client.stream("GET", f"{RECEIPTS}/{drop}/events", headers={"Last-Event-ID": said["id"]}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                last = json.loads(line[6:])
                seen.append(last["progress"]["state"]["step"])
    assert seen == sorted(seen)
    assert seen[3] > seen[2]  # what was seen is not said again
    assert (last["state"], seen[-1]) == ("done", 14)


def test_nobody_is_refused_while_a_long_run_is_at_work(client: httpx.Client) -> None:
    drop = begin(client, steps=1000)
    for number in range(20):
        body = {
            "messages": [
                {"type": "user", "uuid": f"u{number}", "sessionId": "s", "message": {"content": "x"}}
            ]
        }
        answer = client.post("/api/v1/ingest/batch", json=body, headers={"Prefer": "wait=60"})
        assert answer.status_code == 200, answer.text
    assert client.post("/api/v1/long-tests", json={"steps": 1, "step_s": 0}).status_code == 202
    assert receipt(client, drop)["state"] == "claimed"
    client.post(f"{RECEIPTS}/{drop}/cancel")
    until_state(client, drop, "failed")


def test_a_flow_has_a_websocket_of_its_own(stack: RunningStack) -> None:
    address = f"{stack.url.replace('http://', 'ws://')}/api/v1/long-tests/echo"
    with connect(address, additional_headers={"X-API-Key": stack.admin_token}) as socket:
        socket.send("hello")
        assert socket.recv(timeout=PATIENCE_S) == "hello"
