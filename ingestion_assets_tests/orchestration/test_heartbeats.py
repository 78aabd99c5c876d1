"""Whether a run's worker lives is told by its process, whatever the clocks of its host and of PostgreSQL say."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa

from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.dead_runs import fail_lost_runs
from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.run_warden import RunWarden
from ingestion_assets.orchestration.worker_runs import WorkerRuns
from ingestion_assets.settings import Settings
from ingestion_assets_tests.orchestration.conftest import Broker, Runs

LEASE_S = 20


@pytest.fixture
def living() -> Iterator[Worker]:
    """A worker whose process runs."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield Worker(id=uuid4(), host=heartbeats.host_name(), pid=process.pid)
        process.kill()


@pytest.fixture
def dead() -> Worker:
    """A worker whose process has ended."""
    process = subprocess.Popen([sys.executable, "--version"])
    process.wait()
    return Worker(id=uuid4(), host=heartbeats.host_name(), pid=process.pid)


@pytest.fixture(autouse=True)
def nothing_before(engine: sa.Engine) -> None:
    _set(engine, "ended_at = now()")


def _set(engine: sa.Engine, values: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE ingestion.run_heartbeats SET {values}"))


def _claim(engine: sa.Engine, run_id: str, worker: Worker) -> None:
    assert heartbeats.claim(engine, run_id=run_id, worker=worker, pid=worker.pid, lease_s=LEASE_S)


def _abandoned(engine: sa.Engine) -> set[str]:
    return {row.run_id for row in heartbeats.abandoned(engine, host=heartbeats.host_name())}


def _is_alive(engine: sa.Engine, run_id: str) -> bool:
    found = heartbeats.heartbeat(engine, run_id=run_id, lease_s=LEASE_S)
    assert found is not None
    return found[1]


@pytest.mark.usefixtures("stores_of_the_process")
@pytest.mark.parametrize("difference", ["- interval '30 s'", "+ interval '30 s'"])
def test_a_living_worker_counts_as_such_whichever_clock_is_ahead(
    runs: Runs, engine: sa.Engine, living: Worker, difference: str
) -> None:
    run_id = runs.create("chain")
    _claim(engine, run_id, living)
    _set(engine, f"started_at = started_at {difference}")  # as a PostgreSQL with such a clock writes it
    assert _is_alive(engine, run_id)
    assert _abandoned(engine) == set()
    assert fail_lost_runs(runs.instance, engine) == 0
    assert runs.status(run_id) == dg.DagsterRunStatus.NOT_STARTED


def test_a_worker_whose_number_another_process_has_is_gone(engine: sa.Engine, living: Worker) -> None:
    _claim(engine, "recycled", living)
    _set(engine, "worker_start = worker_start || '0'")
    assert not _is_alive(engine, "recycled")
    assert _abandoned(engine) == {"recycled"}


def test_of_a_row_of_an_earlier_release_the_number_alone_counts(
    engine: sa.Engine, living: Worker, dead: Worker
) -> None:
    _claim(engine, "living", living)
    _claim(engine, "dead", dead)
    _set(engine, "worker_start = NULL, pid_start = NULL")
    assert _is_alive(engine, "living")
    assert _abandoned(engine) == {"dead"}


def test_a_process_has_one_start_and_another_has_another(living: Worker, dead: Worker) -> None:
    start = heartbeats.process_start(living.pid)
    assert start is not None
    assert heartbeats.process_start(living.pid) == start
    assert heartbeats.process_start(dead.pid) is None
    assert heartbeats.is_still_there(living.pid, start)
    assert not heartbeats.is_still_there(living.pid, f"{start}0")


def test_a_warden_never_takes_its_own_worker_for_dead(
    runs: Runs, broker: Broker, engine: sa.Engine, living: Worker, dead: Worker
) -> None:
    settings = Settings(_env_file=None, lease_s=LEASE_S)  # pyright: ignore[reportCallIssue]
    own = WorkerRuns(worker=living, engine=engine, settings=settings)
    _claim(engine, "own", living)
    _set(engine, "worker_start = worker_start || '0'")
    _claim(engine, "another's", dead)
    warden = RunWarden(instance=runs.instance, runs=own, drain_s=1, broker_url=broker.server.url)
    warden._look_around()
    assert _abandoned(engine) == {"own"}
