"""Runs of many steps in a real worker: asked to pause, cancelled, drained, killed. None loses more than the step at hand."""

import os
import signal
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ingestion_assets.landing import dispatch, ledger, wanted
from ingestion_assets.landing.drops import Lane, Receipt
from ingestion_assets_tests.orchestration.conftest import Runs, WorkerProcess
from ingestion_assets_tests.orchestration.jobs_for_tests import STEPS
from ingestion_assets_tests.orchestration.one_payload import land_one
from ingestion_assets_tests.servers import wait_until

LANE = Lane("planned", "2026-01-31", "2026-01-31")
PATIENCE_S = 60


class Job:
    """A payload of many steps."""

    def __init__(self, engine: sa.Engine, runs: Runs, lines: Path) -> None:
        self.engine = engine
        self.runs = runs
        self.lines = lines
        with engine.begin() as connection:
            land_one(connection, LANE, plan="many steps", lines=str(lines))
            self.id = connection.execute(sa.text("SELECT id FROM ingestion.drops")).scalar_one()

    def go_on(self) -> str:
        """A run, asked for as the ledger decides: now, or not at all."""
        with self.engine.begin() as connection:
            lanes = dispatch.lanes_to_dispatch(
                dispatch.lane_states(connection, flows=[LANE.flow], rest_s=300), at_most=9
            )
            (asked,) = dispatch.request(connection, lanes)
        run_id = self.runs.launch("planned", tags=asked.tags())
        before = len(self.begun)
        wait_until(lambda: len(self.begun) >= before + 2, seconds=PATIENCE_S, what="some steps")
        return run_id

    @property
    def begun(self) -> list[int]:
        return self._steps("begun")

    @property
    def done(self) -> list[int]:
        return self._steps("done")

    def _steps(self, what: str) -> list[int]:
        lines = self.lines.read_text().splitlines() if self.lines.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(what)]

    @property
    def receipt(self) -> Receipt:
        with self.engine.connect() as connection:
            return ledger.read_receipts(connection, [self.id])[self.id]

    def until(self, state: str) -> Receipt:
        wait_until(lambda: self.receipt.state == state, seconds=PATIENCE_S, what=f"the payload to be {state}")
        return self.receipt


@pytest.fixture
def job(engine: sa.Engine, runs: Runs, tmp_path: Path) -> Job:
    return Job(engine, runs, tmp_path / "lines")


@pytest.mark.usefixtures("worker")
def test_pause_resume_and_cancel_act_within_a_step(job: Job) -> None:
    run_id = job.go_on()
    with job.engine.begin() as connection:
        assert wanted.pause(connection, job.id)
    before = len(job.begun)
    job.until("held")
    paused = job.begun
    assert len(paused) <= before + 1
    assert job.done == paused
    job.runs.wait_for(run_id, dg.DagsterRunStatus.SUCCESS, seconds=PATIENCE_S)
    with job.engine.begin() as connection:
        assert wanted.resume(connection, job.id)
    job.go_on()
    with job.engine.begin() as connection:
        assert wanted.cancel(connection, job.id)
    before = len(job.begun)
    cancelled = job.until("failed")
    assert len(paused) < len(job.begun) <= before + 1
    assert job.begun == job.done == list(range(len(job.begun)))
    assert (cancelled.errors, cancelled.attempts) == ([wanted.CANCELLED], 0)
    assert cancelled.progress is not None
    assert cancelled.progress["state"] == {"step": len(job.done), "of": STEPS}


def test_a_worker_that_drains_in_the_middle_loses_nothing(job: Job, worker: WorkerProcess) -> None:
    run_id = job.go_on()
    worker.terminate(within=PATIENCE_S)
    drained = job.until("landed")
    assert (drained.attempts, drained.errors) == (0, None)
    assert job.done == job.begun
    assert 2 <= len(job.done) < STEPS
    assert job.runs.status(run_id) == dg.DagsterRunStatus.SUCCESS
    worker.start()
    job.go_on()
    job.until("done")
    assert job.done == job.begun == list(range(STEPS))


@pytest.mark.usefixtures("worker")
def test_a_process_that_is_killed_loses_one_step(job: Job) -> None:
    run_id = job.go_on()
    with job.engine.connect() as connection:
        query = sa.text("SELECT pid FROM ingestion.run_heartbeats WHERE run_id = :run")
        os.kill(connection.execute(query, {"run": run_id}).scalar_one(), signal.SIGKILL)
    assert job.until("landed").attempts == 0, "the run had come on"
    job.go_on()
    job.until("done")
    assert len(job.begun) <= STEPS + 1
    assert job.done == list(range(STEPS))
