"""While the broker is away runs wait in Dagster's queue; none fails, and they start as soon as it is back."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis
from dagster import DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from ingestion_assets.landing.run_tags import DISPATCH_TAG
from ingestion_assets.orchestration import broker_watch
from ingestion_assets.orchestration.broker_watch import BrokerWatch
from ingestion_assets.orchestration.celery_app import make_app
from ingestion_assets.orchestration.coordinator import why_runs_wait
from ingestion_assets.orchestration.launcher import WarmRunLauncher
from ingestion_assets.settings import Settings
from ingestion_assets.stores.embedded import free_port
from ingestion_assets_tests.orchestration.conftest import Broker, Runs, WorkerProcess

TAGS = {"dagster/partition": "2026-01-02", DISPATCH_TAG: "landed"}
QUEUED, SUCCESS = DagsterRunStatus.QUEUED, DagsterRunStatus.SUCCESS
BACK_S = 5.0


class Daemon:
    """Dagster's own daemon that takes runs from the queue, an iteration at a time."""

    def __init__(self, context: WorkspaceProcessContext) -> None:
        self._context = context
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)

    def look(self) -> None:
        for _ in self._daemon.run_iteration(self._context):
            pass

    def until(self, runs: Runs, run_ids: list[str], status: DagsterRunStatus, *, seconds: float) -> None:
        """Look until the runs have a status."""
        deadline = time.monotonic() + seconds
        while {runs.status(run_id) for run_id in run_ids} != {status}:
            assert time.monotonic() < deadline, [runs.status(run_id) for run_id in run_ids]
            self.look()


@pytest.fixture
def daemon(runs: Runs) -> Iterator[Daemon]:
    with WorkspaceProcessContext(runs.instance, EmptyWorkspaceTarget()) as context:
        yield Daemon(context)


def test_no_run_fails_for_want_of_a_broker_and_all_start_when_it_is_back(
    runs: Runs, daemon: Daemon, broker: Broker, worker: WorkerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    broker.stop()
    asked = [runs.create("chain", tags=TAGS) for _ in range(2)]
    assert [runs.submit(run_id) for run_id in asked] == [QUEUED, QUEUED]
    outage_ends = time.monotonic() + 4  # the outage itself, not a wait
    while time.monotonic() < outage_ends:
        daemon.look()
        assert {runs.status(run_id) for run_id in asked} == {QUEUED}
    assert "Connection refused" in (why_runs_wait(runs.instance) or "")
    broker.start()
    daemon.until(runs, asked, SUCCESS, seconds=BACK_S)
    assert why_runs_wait(runs.instance) is None
    said = [record.message for record in caplog.records if record.name == broker_watch.__name__]
    assert [text.split(",")[0] for text in said] == ["The broker does not answer", "The broker answers again"]
    assert worker.log.read_text(encoding="utf-8").count("The broker does not answer") == 1


def test_a_run_that_cannot_be_sent_after_all_goes_back_to_the_queue(
    runs: Runs, daemon: Daemon, broker: Broker, worker: WorkerProcess
) -> None:
    broker.stop()
    run_id = runs.launch("chain", tags=TAGS)  # as if it had gone right after the look
    assert runs.status(run_id) == QUEUED
    broker.start()
    daemon.until(runs, [run_id], SUCCESS, seconds=BACK_S)
    assert worker.is_alive


@pytest.mark.usefixtures("worker")
def test_a_broker_that_hangs_is_away_too(runs: Runs, daemon: Daemon, broker: Broker) -> None:
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        run_id = runs.create("chain", tags=TAGS)
        assert runs.submit(run_id) == QUEUED
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    daemon.until(runs, [run_id], SUCCESS, seconds=BACK_S)


@pytest.mark.usefixtures("worker")
def test_a_run_that_the_broker_refuses_waits_too(
    runs: Runs, daemon: Daemon, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_watch, "ANYWAY_S", 1.0)
    run_id = runs.create("chain", tags=TAGS)
    with redis.Redis.from_url(broker.server.url) as client:
        client.config_set("maxmemory", 1)  # what it holds stays, nothing is added
        assert runs.submit(run_id) == QUEUED
        assert why_runs_wait(runs.instance) is None
        client.config_set("maxmemory", 0)
    daemon.until(runs, [run_id], SUCCESS, seconds=BACK_S)
    assert "did not take the run" in runs.messages(run_id)


@pytest.mark.usefixtures("worker")
def test_runs_start_all_the_same_where_the_look_errs(
    runs: Runs, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = runs.instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    elsewhere = make_app(Settings(redis_url=f"redis://127.0.0.1:{free_port()}"))
    monkeypatch.setattr(launcher, "broker", BrokerWatch(elsewhere))
    monkeypatch.setattr(broker_watch, "ANYWAY_S", 1.0)
    held_back = runs.create("chain", tags=TAGS)
    assert runs.submit(held_back) == QUEUED
    daemon.until(runs, [held_back], SUCCESS, seconds=BACK_S)
    at_once = runs.create("chain", tags=TAGS)
    assert runs.submit(at_once) != QUEUED, "what could be sent is not held back again"
    runs.wait_for(at_once, SUCCESS)
