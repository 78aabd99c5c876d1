"""A run whose process stands still does not hold its lane; one that computes for as long, or has a stopped neighbour, goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus

from ingestion_assets.landing import dispatch
from ingestion_assets.landing.drops import Lane
from ingestion_assets_tests.orchestration.conftest import Runs, WorkerProcess
from ingestion_assets_tests.orchestration.one_payload import land_one
from ingestion_assets_tests.servers import wait_until

LANE = Lane("planned", "2026-01-31", "2026-01-31")
DAY = {"dagster/partition": "2026-01-02"}
STALLED_S = 2


@pytest.fixture(scope="module")
def impatient(worker_process: WorkerProcess) -> WorkerProcess:
    """A worker with little patience."""
    return worker_process.start(run_stalled_s=STALLED_S)


def _launch(runs: Runs, engine: sa.Engine, *, plan: str, attempts: int = 0) -> str:
    with engine.begin() as connection:
        land_one(connection, LANE, plan=plan)
        connection.execute(sa.text("UPDATE ingestion.drops SET attempts = :attempts"), {"attempts": attempts})
        (asked,) = dispatch.request(connection, [LANE])
    return runs.launch("planned", tags=asked.tags())


def _drop(engine: sa.Engine) -> sa.Row[tuple[str, int, list[dict[str, str]]]]:
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT state, attempts, errors FROM ingestion.drops")).one()


def _held(engine: sa.Engine) -> int:
    """Leases that hold a lane, and dispatches that are still to end."""
    with engine.connect() as connection:
        return connection.execute(
            sa.text("""
                SELECT (SELECT count(*) FROM ingestion.leases WHERE expires_at > clock_timestamp())
                     + (SELECT count(*) FROM ingestion.dispatches WHERE state IN ('pending', 'claimed'))
            """)
        ).scalar_one()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("plan", "what", "seconds"),
    [
        ("deadlock", "waiting for something that does not come", STALLED_S + 5),
        ("stop", "stopped by a signal", STALLED_S + 5),
        ("hang in C", "did not heed its interrupt", STALLED_S + 16),
    ],
)
def test_a_run_that_stands_still_is_ended_and_its_payload_goes_back(
    runs: Runs, engine: sa.Engine, plan: str, what: str, seconds: float
) -> None:
    run_id = _launch(runs, engine, plan=plan)
    wait_until(lambda: _drop(engine).state == "claimed", seconds=20, what="the claim")
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)  # its neighbour
    runs.wait_for(run_id, DagsterRunStatus.FAILURE, seconds=seconds)
    wait_until(lambda: _drop(engine).state == "landed", seconds=5, what="the payload to go back")
    drop = _drop(engine)
    assert drop.attempts == 1
    assert drop.errors[0]["code"] == "run_stalled"
    assert "it made no progress" in drop.errors[0]["reason"]
    assert what in drop.errors[0]["reason"]
    assert "it made no progress" in runs.messages(run_id)
    wait_until(lambda: _held(engine) == 0, seconds=5, what="the lane to be free")


@pytest.mark.usefixtures("impatient")
def test_a_kill_after_payloads_joined_a_claim_loses_and_doubles_none(runs: Runs, engine: sa.Engine) -> None:
    def rows() -> list[tuple[str, int, int]]:
        with engine.connect() as connection:
            query = sa.text("SELECT state, attempts, count(*) FROM ingestion.drops GROUP BY 1, 2")
            return [tuple(row) for row in connection.execute(query)]

    run_id = _launch(runs, engine, plan="more join and it is killed")
    runs.wait_for(run_id, DagsterRunStatus.FAILURE, seconds=20)
    wait_until(lambda: rows() == [("landed", 1, 101)], seconds=10, what="all of the claim to go back")
    wait_until(lambda: _held(engine) == 0, seconds=5, what="the lane to be free")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.drops SET attributes = '{}', not_before = NULL"))
        (asked,) = dispatch.request(connection, [LANE])
    runs.wait_for(runs.launch("planned", tags=asked.tags()), DagsterRunStatus.SUCCESS, seconds=20)
    assert rows() == [("done", 1, 101)]


@pytest.mark.usefixtures("impatient")
def test_a_payload_that_always_hangs_its_run_ends_failed_with_the_reason(
    runs: Runs, engine: sa.Engine
) -> None:
    _launch(runs, engine, plan="deadlock", attempts=3)
    wait_until(lambda: _drop(engine).state == "failed", seconds=STALLED_S + 20, what="the payload to fail")
    assert _drop(engine).errors[0]["code"] == "run_stalled"


@pytest.mark.usefixtures("impatient")
def test_a_long_call_that_computes_is_progress(runs: Runs) -> None:
    config = {"ops": {"compute_in_one_call": {"config": {"seconds": 3.0 * STALLED_S}}}}
    run_id = runs.launch("computing", run_config=config)
    runs.wait_for(run_id, DagsterRunStatus.SUCCESS, seconds=120)


def test_a_child_that_was_stopped_between_runs_is_replaced(
    runs: Runs, impatient: WorkerProcess, engine: sa.Engine
) -> None:
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)
    at_work = sa.text("SELECT count(*) FROM ingestion.run_heartbeats WHERE ended_at IS NULL")

    def is_over() -> bool:
        with engine.connect() as connection:
            return connection.execute(at_work).scalar_one() == 0

    wait_until(is_over, seconds=20, what="the run's process to have told its end")
    assert impatient.process is not None
    parent = psutil.Process(impatient.process.pid)
    before = parent.children()
    for child in before:
        child.send_signal(signal.SIGSTOP)
    wait_until(
        lambda: not any(child.is_running() and child.status() != "zombie" for child in before),
        seconds=STALLED_S + 25, what="the stopped children to be replaced",
    )  # fmt: skip
    runs.wait_for(runs.launch("chain", tags=DAY), DagsterRunStatus.SUCCESS)


def test_the_lane_of_a_stopped_worker_is_free_once_its_lease_is_over(
    runs: Runs, worker_process: WorkerProcess, engine: sa.Engine
) -> None:
    worker_process.terminate()
    worker_process.start(lease_s=3)
    _launch(runs, engine, plan="deadlock")
    wait_until(lambda: _drop(engine).state == "claimed", seconds=20, what="the claim")
    expires = sa.text("SELECT expires_at > clock_timestamp() FROM ingestion.leases")

    def leased() -> bool:
        with engine.connect() as connection:
            return connection.execute(expires).scalar_one()

    assert worker_process.process is not None
    os.kill(worker_process.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: not leased(), seconds=10, what="the lease to end")
    finally:
        worker_process.kill()


def test_a_process_that_beats_for_itself_stops_when_its_work_stands_still(
    postgres_url: str, tmp_path: Path
) -> None:
    """As `dagster job execute &`: the thread that beats would go on for ever, and a background job is started deaf to SIGINT."""
    work = """if True:
        import threading
        from ingestion_assets.orchestration.heartbeats import Worker
        from ingestion_assets.orchestration.worker_runs import WorkerRuns
        from ingestion_assets.settings import load_settings
        from ingestion_assets.stores.postgres import engine
        runs = WorkerRuns(worker=Worker.here(), engine=engine(), settings=load_settings())
        with runs.beating("by hand"):
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
    """
    settings = {
        "POSTGRES_URL": postgres_url,
        "HOME": str(tmp_path),
        "RUN_STALLED_S": "1",
        "HEARTBEAT_S": "0.3",
    }
    done = subprocess.run(
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", work], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **{f"INGESTION_{name}": value for name, value in settings.items()}},
    )  # fmt: skip
    assert done.returncode != 0
    assert "Run by hand has made no progress" in done.stderr
    assert "KeyboardInterrupt" in done.stderr
