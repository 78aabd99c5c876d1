"""Runs in warm workers end as they should, whatever is cancelled, killed, restarted or delivered twice."""

import json
import logging
import os
import re
import signal
import ssl
import time
import uuid

import dagster as dg
import psutil
import pytest
import redis
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from ingestion_assets.landing import leases
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.run_tags import DISPATCH_TAG
from ingestion_assets.orchestration import heartbeats, lost_launches
from ingestion_assets.orchestration.celery_app import celery_settings, make_app, send_run
from ingestion_assets.orchestration.launcher import WarmRunLauncher
from ingestion_assets.orchestration.queues import TASK_TAG
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.orchestration import jobs_for_tests
from ingestion_assets_tests.orchestration.conftest import Broker, Runs, WorkerProcess, runs_of_a_worker
from ingestion_assets_tests.servers import wait_until

DAY = {"dagster/partition": "2026-01-02"}
LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"


def _launcher(runs: Runs) -> WarmRunLauncher:
    launcher = runs.instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    return launcher


def _health(runs: Runs, run_id: str) -> WorkerStatus:
    run = runs.instance.get_run_by_id(run_id)
    assert run is not None
    return _launcher(runs).check_run_worker_health(run).status


def _monitor(runs: Runs, run_id: str) -> None:
    """What the daemon's run monitoring does with a started run."""
    record = runs.instance.get_run_record_by_id(run_id)
    assert record is not None
    monitor_started_run(runs.instance, None, record, logging.getLogger())  # pyright: ignore[reportArgumentType]


def test_launcher_and_worker_agree_about_celery(broker: Broker) -> None:
    settings = Settings(redis_url=broker.server.url)
    launcher = WarmRunLauncher(redis_url=broker.server.url)
    wanted = celery_settings(settings)
    for app in (launcher.celery, make_app(settings)):
        differing = {key: app.conf[key] for key, value in wanted.items() if app.conf[key] != value}
        assert not differing


@pytest.mark.parametrize(
    ("url", "encryption"),
    [
        ("redis://broker.example.com", False),
        ("rediss://broker.example.com", {"ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ("rediss://broker.example.com?ssl_cert_reqs=none", {"ssl_cert_reqs": ssl.CERT_NONE}),
    ],
)
def test_the_scheme_says_whether_the_broker_is_spoken_to_over_tls(url: str, encryption: object) -> None:
    assert WarmRunLauncher(redis_url=url).celery.connection_for_write().ssl == encryption


@pytest.mark.usefixtures("worker")
def test_a_run_goes_from_launch_to_success_in_well_under_a_second(runs: Runs) -> None:
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)  # connections, caches
    durations = []
    for _ in range(5):
        run_id = runs.create("chain", tags=DAY)
        started = time.monotonic()
        runs.instance.launch_run(run_id, None)  # pyright: ignore[reportArgumentType]
        runs.wait_for(run_id, DagsterRunStatus.SUCCESS)
        durations.append(time.monotonic() - started)
    assert sorted(durations)[2] < 1.5
    assert len(runs.instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)) == 7


@pytest.mark.usefixtures("worker")
def test_a_selection_of_assets_runs(runs: Runs) -> None:
    run_id = runs.create("chain", tags=DAY, asset_selection={dg.AssetKey(["chain", "link_3"])})
    runs.instance.launch_run(run_id, None)  # pyright: ignore[reportArgumentType]
    runs.wait_for(run_id, DagsterRunStatus.SUCCESS)
    assert runs.count(run_id, DagsterEventType.ASSET_MATERIALIZATION) == 1


@pytest.mark.usefixtures("worker")
def test_a_job_with_a_process_for_each_step_runs(runs: Runs) -> None:
    run_id = runs.launch("in_processes")
    runs.wait_for(run_id, DagsterRunStatus.SUCCESS, seconds=60)
    assert runs.count(run_id, DagsterEventType.STEP_WORKER_STARTED) == 2


@pytest.mark.usefixtures("worker")
def test_a_failing_step_fails_the_run_and_not_the_worker(runs: Runs) -> None:
    run_id = runs.launch("failing")
    runs.wait_for(run_id, DagsterRunStatus.FAILURE)
    assert "planted" in str(runs.instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE))
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)


@pytest.mark.parametrize("job", ["sleeping", "blocking"])
@pytest.mark.usefixtures("worker")
def test_a_running_run_is_canceled_within_five_seconds(runs: Runs, job: str) -> None:
    run_id, _ = runs.launch_sleeping(job)
    clicked = time.monotonic()
    assert runs.instance.run_coordinator.cancel_run(run_id)
    assert runs.status(run_id) == DagsterRunStatus.CANCELING
    runs.wait_for(run_id, DagsterRunStatus.CANCELED)
    assert time.monotonic() - clicked < 5
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)
    both = [runs.launch_sleeping(seconds=60)[0], runs.launch_sleeping(seconds=60)[0]]  # no slot was lost
    for other in both:
        assert _launcher(runs).terminate(other)
    for other in both:
        runs.wait_for(other, DagsterRunStatus.CANCELED)


@pytest.mark.usefixtures("worker")
def test_a_run_that_waits_in_the_broker_is_canceled_and_never_starts(runs: Runs) -> None:
    occupying = [runs.launch_sleeping()[0] for _ in range(2)]
    waiting = runs.launch("chain", tags=DAY)
    assert runs.status(waiting) == DagsterRunStatus.STARTING
    assert _launcher(runs).terminate(waiting)
    assert runs.status(waiting) == DagsterRunStatus.CANCELED
    for run_id in occupying:
        assert _launcher(runs).terminate(run_id)
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)
    assert runs.status(waiting) == DagsterRunStatus.CANCELED
    assert not runs.count(waiting, DagsterEventType.RUN_START)
    assert not _launcher(runs).terminate(waiting)


@pytest.mark.usefixtures("worker")
def test_a_killed_child_fails_its_run_within_two_seconds(runs: Runs) -> None:
    run_id, pid = runs.launch_sleeping()
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    runs.wait_for(run_id, DagsterRunStatus.FAILURE)
    assert time.monotonic() - killed < 2
    assert f"pid {pid}" in runs.messages(run_id)
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)


def test_runs_do_not_wait_for_a_child_that_was_replaced(runs: Runs, worker_process: WorkerProcess) -> None:
    worker_process.terminate()
    worker_process.start(worker_spare_mb=1)
    processes, durations = set[str](), []
    for number in range(12):
        time.sleep(number / 30)  # at any moment of a child's end
        started = time.monotonic()
        run_id = runs.launch("hoarding")
        runs.wait_for(run_id, DagsterRunStatus.SUCCESS)
        durations.append(time.monotonic() - started)
        processes.update(re.findall(r"Executing steps in process \(pid: (\d+)\)", runs.messages(run_id)))
    worker_process.terminate()
    assert len(processes) >= 4, "children were not replaced"
    assert max(durations) < 2, durations


def test_a_warm_model_stays_loaded(runs: Runs, worker_process: WorkerProcess) -> None:
    """500 MB, four times what a process may come to hold beside it."""
    worker_process.terminate()
    worker_process.start(concurrency=1, flows=f"{jobs_for_tests.__name__}:MODELLED")
    held, processes = list[int](), set[int]()
    for _ in range(100 if LONG else 10):
        run_id = runs.launch("asking")
        runs.wait_for(run_id, DagsterRunStatus.SUCCESS, seconds=120)  # the first waits for the model, too
        [pid] = re.findall(r"Executing steps in process \(pid: (\d+)\)", runs.messages(run_id))
        processes.add(int(pid))
        held.append(psutil.Process(int(pid)).memory_info().rss >> 20)
    worker_process.terminate()
    assert len(processes) == 1, "a process was replaced"
    assert min(held) >= 500
    assert held[-1] - held[2] < 20, held
    assert "the flow modelled wants loaded" in worker_process.log.read_text(encoding="utf-8")


@pytest.mark.usefixtures("worker")
def test_a_run_that_holds_the_gil_stays_healthy(runs: Runs, postgres_url: str) -> None:
    run_id, _ = runs.launch_sleeping("blocking", seconds=3)
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        assert _health(runs, run_id) == WorkerStatus.RUNNING
        time.sleep(0.2)
    found = heartbeats.heartbeat(engine(postgres_url), run_id=run_id, lease_s=1.5)
    assert found is not None
    assert found[1]
    runs.wait_for(run_id, DagsterRunStatus.SUCCESS)


@pytest.mark.usefixtures("worker")
def test_the_second_delivery_of_a_run_is_ignored(runs: Runs, broker: Broker) -> None:
    app = make_app(Settings(redis_url=broker.server.url))
    run_id, _ = runs.launch_sleeping(seconds=4)
    send_run(app, run_id=run_id, queue="default")
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)  # behind the second delivery
    assert runs.status(run_id) == DagsterRunStatus.STARTED
    assert _health(runs, run_id) == WorkerStatus.RUNNING
    runs.wait_for(run_id, DagsterRunStatus.SUCCESS)
    send_run(app, run_id=run_id, queue="default")
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)
    assert runs.status(run_id) == DagsterRunStatus.SUCCESS
    assert runs.count(run_id, DagsterEventType.RUN_START) == 1


def test_a_killed_worker_takes_its_children_along_and_its_runs_are_failed(
    runs: Runs, worker: WorkerProcess
) -> None:
    run_id, pid = runs.launch_sleeping()
    assert _health(runs, run_id) == WorkerStatus.RUNNING
    worker.kill()
    wait_until(lambda: not psutil.pid_exists(pid), seconds=2, what="the child to die with its parent")
    assert _health(runs, run_id) == WorkerStatus.FAILED
    _monitor(runs, run_id)
    assert runs.status(run_id) == DagsterRunStatus.FAILURE


def test_a_new_worker_fails_what_a_killed_one_left_behind(runs: Runs, worker: WorkerProcess) -> None:
    run_id, _ = runs.launch_sleeping()
    worker.kill()
    worker.start()
    runs.wait_for(run_id, DagsterRunStatus.FAILURE, seconds=5)


def test_a_stopped_worker_lets_short_runs_end_and_reports_long_ones(
    runs: Runs, worker_process: WorkerProcess
) -> None:
    worker_process.terminate()
    worker_process.start(drain=3)
    short, _ = runs.launch_sleeping("blocking", seconds=1)
    long, _ = runs.launch_sleeping()
    worker_process.terminate(within=8)
    assert runs.status(short) == DagsterRunStatus.SUCCESS
    assert runs.status(long) == DagsterRunStatus.FAILURE
    assert "stopped" in runs.messages(long)


@pytest.mark.usefixtures("worker")
def test_workers_and_launcher_survive_a_restart_of_the_broker(runs: Runs, broker: Broker) -> None:
    running, _ = runs.launch_sleeping(seconds=6)
    broker.stop()
    started = time.monotonic()
    assert runs.status(runs.launch("chain", tags=DAY)) == DagsterRunStatus.QUEUED
    assert time.monotonic() - started < 10
    broker.start()
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS, seconds=20)
    runs.wait_for(running, DagsterRunStatus.SUCCESS, seconds=20)
    assert runs.count(running, DagsterEventType.RUN_START) == 1


@pytest.mark.usefixtures("worker")
def test_a_worker_goes_on_after_runs_that_ended_while_the_broker_was_away(runs: Runs, broker: Broker) -> None:
    ending = [runs.launch_sleeping(seconds=3)[0] for _ in range(2)]  # as many as it takes at once
    broker.stop()
    for run_id in ending:
        runs.wait_for(run_id, DagsterRunStatus.SUCCESS)
    broker.start()
    for _ in range(3):
        runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS, seconds=20)


def test_a_stale_heartbeat_of_another_host_is_a_failure(runs: Runs, postgres_url: str) -> None:
    run_id = runs.create("chain", tags=DAY | {TASK_TAG: "1"})
    assert _health(runs, run_id) == WorkerStatus.FAILED
    stores = engine(postgres_url)
    elsewhere = heartbeats.Worker(id=heartbeats.Worker.here().id, host="elsewhere", pid=1)
    assert heartbeats.claim(stores, run_id=run_id, worker=elsewhere, pid=2, lease_s=20)
    assert not heartbeats.claim(stores, run_id=run_id, worker=heartbeats.Worker.here(), pid=2, lease_s=20)
    assert _health(runs, run_id) == WorkerStatus.RUNNING
    with stores.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE ingestion.run_heartbeats SET beat_at = now() - interval '1 h' WHERE run_id = :run_id"
            ),
            {"run_id": run_id},
        )
        up = connection.execute(sa.text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())"))
        up_s = float(up.scalar_one())
    found = heartbeats.heartbeat(stores, run_id=run_id, lease_s=up_s / 2)
    assert found is not None
    assert not found[1]
    assert heartbeats.claim(
        stores, run_id=run_id, worker=heartbeats.Worker.here(), pid=os.getpid(), lease_s=20
    )


def test_a_run_of_another_process_counts_as_healthy(runs: Runs) -> None:
    run_id = runs.create("chain", tags=DAY)
    assert _health(runs, run_id) == WorkerStatus.RUNNING
    assert not _launcher(runs).terminate(run_id)


def test_a_beat_keeps_the_lanes_of_the_runs_that_live(postgres_url: str) -> None:
    stores = engine(postgres_url)
    with stores.begin() as connection:
        for run_id in ("alive", "gone"):
            leases.take_lease(connection, Lane("planned", "", run_id), run_id=run_id, lease_s=1)
    runs_of_a_worker(stores).beat(["alive"])
    runs_of_a_worker(stores).beat([])
    left = sa.text("SELECT lane FROM ingestion.leases WHERE expires_at > clock_timestamp() + interval '10 s'")
    with stores.begin() as connection:
        assert connection.scalars(left).all() == ["alive"]
        for run_id in ("alive", "gone"):
            leases.release(connection, run_id)


@pytest.mark.usefixtures("worker")
def test_dispatched_runs_are_launched_at_once_as_long_as_there_is_room(runs: Runs) -> None:
    dispatched = DAY | {DISPATCH_TAG: "landed"}
    plain, first = runs.create("chain", tags=DAY), runs.create("chain", tags=dispatched)
    assert runs.submit(plain) == DagsterRunStatus.QUEUED
    assert runs.submit(first) in {
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.SUCCESS,
    }
    runs.wait_for(first, DagsterRunStatus.SUCCESS)
    occupying = [runs.launch_sleeping()[0] for _ in range(2)]
    assert runs.submit(runs.create("chain", tags=dispatched)) == DagsterRunStatus.QUEUED
    for run_id in occupying:
        assert _launcher(runs).terminate(run_id)
    for run_id in occupying:
        runs.wait_for(run_id, DagsterRunStatus.CANCELED)


def test_a_run_whose_task_the_broker_lost_is_found(
    runs: Runs,
    worker_process: WorkerProcess,
    broker: Broker,
    postgres_url: str,
) -> None:
    worker_process.terminate()
    kept, lost = runs.launch("chain", tags=DAY), runs.launch("chain", tags=DAY)
    with redis.Redis.from_url(broker.server.url) as client:
        assert not lost_launches.suspects(runs.instance, engine(postgres_url), client)
        [message] = [text for text in client.lrange("ingestion:default", 0, -1) if lost.encode() in text]
        client.lrem("ingestion:default", 1, message)
        assert lost_launches.suspects(runs.instance, engine(postgres_url), client) == {lost}
        client.hset("ingestion:unacked", "tag", json.dumps([json.loads(message), "", "default"]))
        lost_launches.hold(client, [lost], seconds=60)
        assert not lost_launches.suspects(runs.instance, engine(postgres_url), client)
        lost_launches.hold(client, [lost], seconds=0.001)  # as if its worker were killed
        wait_until(
            lambda: lost_launches.suspects(runs.instance, engine(postgres_url), client) == {lost},
            seconds=5, what="the task to be nobody's",
        )  # fmt: skip
        client.hdel("ingestion:unacked", "tag")
        lost_launches.fail(runs.instance, lost, runs_of_a_worker(engine(postgres_url)))
    assert runs.status(lost) == DagsterRunStatus.FAILURE
    worker_process.start()
    runs.wait_for(kept, DagsterRunStatus.SUCCESS)


def test_a_dispatched_run_that_was_never_submitted_is_found(
    runs: Runs, broker: Broker, postgres_url: str
) -> None:
    forgotten = runs.create("chain", tags={**DAY, DISPATCH_TAG: str(uuid.uuid4())})
    somebodys = runs.create("chain", tags=DAY)
    with redis.Redis.from_url(broker.server.url) as client:
        assert lost_launches.suspects(runs.instance, engine(postgres_url), client) == {forgotten}
    lost_launches.fail(runs.instance, forgotten, runs_of_a_worker(engine(postgres_url)))
    assert runs.status(forgotten) == DagsterRunStatus.FAILURE
    assert runs.status(somebodys) == DagsterRunStatus.NOT_STARTED
