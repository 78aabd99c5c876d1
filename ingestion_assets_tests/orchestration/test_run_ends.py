"""How runs end: what that means for their payloads; an end that cannot be told at once holds up no other run."""

import gc
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._serdes import serialize_value

from ingestion_assets.landing import dispatch
from ingestion_assets.landing.drops import Lane
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.dead_runs import fail_lost_runs
from ingestion_assets.orchestration.heartbeats import Ending, Worker
from ingestion_assets.orchestration.queues import TASK_TAG
from ingestion_assets.orchestration.run_warden import RunWarden
from ingestion_assets.orchestration.worker_runs import WorkerRuns
from ingestion_assets.stores.postgres import driver_url
from ingestion_assets_tests.orchestration.conftest import Broker, Runs, execute, runs_of_a_worker
from ingestion_assets_tests.orchestration.jobs_for_tests import SECRET
from ingestion_assets_tests.orchestration.one_payload import land_one
from ingestion_assets_tests.servers import wait_until

RAISED = 7
LANE = Lane("planned", "2026-01-31", "2026-01-31")


class Refusing(WorkerRuns):
    """Cannot tell the end of the run `refused`; notes for which runs it beats."""

    refused = ""

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.beats: list[str] = []

    def beat(self, run_ids: Sequence[str]) -> None:
        super().beat(run_ids)
        self.beats.extend(run_ids)

    def give_back(self, run_id: str, tags: Mapping[str, str], ending: Ending) -> None:
        if run_id == self.refused:
            raise RuntimeError("planted")
        super().give_back(run_id, tags, ending)


def test_a_process_that_cannot_tell_the_end_of_its_run_ends(runs: Runs, postgres_url: str) -> None:
    run_id = runs.create("chain")
    run = runs.instance.get_run_by_id(run_id)
    assert run is not None
    runs.instance.report_run_failed(run)
    ref = runs.instance.get_ref()

    def execute_here() -> None:
        try:
            with dg.DagsterInstance.from_ref(ref) as instance:
                stores = sa.create_engine(driver_url(postgres_url, "psycopg"))
                refusing = runs_of_a_worker(stores, of=Refusing)
                refusing.refused = run_id
                execute(instance, run_id, refusing)
        finally:
            os._exit(RAISED)

    child = multiprocessing.get_context("fork").Process(target=execute_here)
    child.start()
    child.join(timeout=20)
    assert child.exitcode == 1


def test_a_lost_run_that_cannot_be_reported_does_not_stop_the_beats_of_the_others(
    runs: Runs, broker: Broker, engine: sa.Engine
) -> None:
    refusing = runs_of_a_worker(engine, of=Refusing, heartbeat_s=0.1, run_stalled_s=60)
    refusing.refused = "lost"
    dead = subprocess.Popen([sys.executable, "--version"])
    dead.wait()
    for run_id, pid in (("lost", dead.pid), ("alive", os.getpid())):
        assert heartbeats.claim(engine, run_id=run_id, worker=refusing.worker, pid=pid, lease_s=20)
    warden = RunWarden(instance=runs.instance, runs=refusing, drain_s=1, broker_url=broker.server.url)
    warden.start()
    try:
        wait_until(lambda: refusing.beats, seconds=10, what="a beat")
    finally:
        warden._ended.set()
        warden.join()
    assert set(refusing.beats) == {"alive"}


@pytest.mark.usefixtures("stores_of_the_process")
@pytest.mark.parametrize(
    ("plan", "attempts", "why"),
    [
        ("fail the check", 1, "run {run_id} failed: .*as_planned"),
        ("overrun", 1, "run {run_id} failed: Exceeded maximum runtime of 1 seconds"),
        ("lose the ledger", 0, "LaneBusyError: planted"),
        ("quote the payload", 1, "InvalidDocument: a value that BSON cannot hold"),
        ("quote it and pass", 0, "AutoReconnect: Invalid document .…: …."),
    ],
)
def test_what_a_failed_run_holds_is_given_back_with_the_reason(
    runs: Runs, engine: sa.Engine, plan: str, attempts: int, why: str
) -> None:
    with engine.begin() as connection:
        land_one(connection, LANE, plan=plan)
        (asked,) = dispatch.request(connection, [LANE])
    run_id = runs.create("planned", tags=asked.tags())
    assert execute(runs.instance, run_id, runs_of_a_worker(engine)), "it was not executed"
    assert runs.status(run_id) == dg.DagsterRunStatus.FAILURE
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT state, attempts, errors FROM ingestion.drops")).one()
    assert (row.state, row.attempts) == ("landed", attempts)
    assert re.search(why.format(run_id=run_id), row.errors[0]["reason"], re.DOTALL)
    assert "Traceback" not in row.errors[0]["reason"]
    said = [serialize_value(record) for record in runs.instance.all_logs(run_id)]
    assert any("STEP_FAILURE" in text for text in said) or plan == "fail the check"
    assert not [text for text in said if SECRET in text]


_REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON asset_keys FOR EACH ROW
        WHEN (NEW.asset_key = '["planned", "stored"]') EXECUTE FUNCTION refuse();
"""


@contextmanager
def stage_refused(engine: sa.Engine) -> Iterator[None]:
    """Dagster cannot store that the stage was materialized."""
    with engine.begin() as connection:
        connection.execute(sa.text(_REFUSE))
    yield
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER refuse ON asset_keys; DROP FUNCTION refuse"))


@pytest.mark.usefixtures("stores_of_the_process")
@pytest.mark.parametrize("fails", [False, True])
def test_what_joins_a_claim_is_told_ended_and_given_back_with_it(
    runs: Runs, engine: sa.Engine, *, fails: bool
) -> None:
    with engine.begin() as connection:
        land_one(connection, LANE, plan="more join and it fails" if fails else "more join")
        (asked,) = dispatch.request(connection, [LANE])
    run_id = runs.create("planned", tags=asked.tags())
    assert execute(runs.instance, run_id, runs_of_a_worker(engine))
    with engine.connect() as connection:
        query = sa.text("SELECT state, attempts, run_id, count(*) FROM ingestion.drops GROUP BY 1, 2, 3")
        rows = connection.execute(query).all()
        assert not connection.scalar(sa.text("SELECT count(*) FROM ingestion.leases"))
    assert rows == [("landed" if fails else "done", int(fails), run_id, 101)]
    told = runs.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    found = [one.dagster_event.materialization for one in told if one.dagster_event is not None]
    claimed = [one for one in found if one.asset_key.path[-1] == "raw_batches"]
    assert [one.metadata["payloads"].value for one in claimed] == ([1] if fails else [1, 100])
    assert len({tuple(sorted((one.tags or {}).items())) for one in claimed}) == 1, "they are of one version"
    assert len({one.partition for one in found}) == 1


@pytest.mark.usefixtures("stores_of_the_process")
def test_what_a_run_kept_open_is_left_where_dagster_fails_between_two_stages(
    runs: Runs, engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        land_one(connection, LANE, plan="keep a folder", folder=str(tmp_path))
        (asked,) = dispatch.request(connection, [LANE])
    run_id = runs.create("planned", tags=asked.tags())
    gc.disable()  # it would close, some time, the step that Dagster forgets
    try:
        with stage_refused(engine):
            assert execute(runs.instance, run_id, runs_of_a_worker(engine))
        assert runs.status(run_id) == dg.DagsterRunStatus.FAILURE
        assert not list(tmp_path.iterdir())
    finally:
        gc.enable()


@pytest.mark.usefixtures("stores_of_the_process")
def test_a_lane_whose_runs_fail_before_they_claim_anything_gets_the_next_ever_later(
    runs: Runs, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        land_one(connection, LANE)

    def ask() -> list[dispatch.Dispatch]:
        with engine.begin() as connection:
            states = dispatch.lane_states(connection, flows=[LANE.flow])
            return dispatch.request(connection, dispatch.lanes_to_dispatch(states, at_most=9))

    for number in range(dispatch.IN_VAIN_AT_ONCE):
        (asked,) = ask()
        run_id = runs.create("failing", tags=asked.tags())
        assert execute(runs.instance, run_id, runs_of_a_worker(engine)), number
    assert ask() == []
    with engine.begin() as connection:
        (state,) = dispatch.lane_states(connection, flows=[LANE.flow])
        assert dispatch.IN_VAIN_FIRST_S - 2 < state.paused_s <= dispatch.IN_VAIN_FIRST_S
        ago = f"interval '{dispatch.IN_VAIN_FIRST_S} s'"
        connection.execute(sa.text(f"UPDATE ingestion.dispatches SET ended_at = ended_at - {ago}"))
    (asked,) = ask()
    run_id = runs.create("planned", tags=asked.tags())
    assert execute(runs.instance, run_id, runs_of_a_worker(engine))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.drops SET state = 'landed', claim = NULL"))
        (state,) = dispatch.lane_states(connection, flows=[LANE.flow])
    assert state.in_vain == 0, "a run that claimed what it was for"


def test_runs_in_vain_are_spaced_ever_wider_up_to_a_limit() -> None:
    now = datetime.now(UTC)
    rests = [
        dispatch.LaneState(LANE, now, leased=False, pending=False, in_vain=number).paused_s
        for number in range(11)
    ]
    assert rests == [0, 0, 0, 5, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.usefixtures("stores_of_the_process")
def test_a_run_that_no_worker_took_is_failed_once_its_process_is_gone(runs: Runs, engine: sa.Engine) -> None:
    dead = subprocess.Popen([sys.executable, "--version"])
    dead.wait()
    lost, alive, taken, silent = (runs.create("chain", tags=tags) for tags in ({}, {}, {TASK_TAG: "a"}, {}))
    here = Worker.here()
    gone = Worker(id=uuid4(), host=here.host, pid=dead.pid)
    elsewhere = Worker(id=uuid4(), host="elsewhere.example.com", pid=1)
    for run_id, worker in ((lost, gone), (alive, here), (taken, gone), (silent, elsewhere)):
        assert heartbeats.claim(engine, run_id=run_id, worker=worker, pid=worker.pid, lease_s=20)
    assert fail_lost_runs(runs.instance, engine) == 1
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE ingestion.run_heartbeats SET beat_at = now() - interval '1 h' WHERE run_id = :run"
            ),
            {"run": silent},
        )
        up_s = connection.scalar(sa.text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())"))
    if up_s < 21:  # a server that just came up gives everybody time to beat
        assert fail_lost_runs(runs.instance, engine) == 0
        wait_until(
            lambda: fail_lost_runs(runs.instance, engine) == 1, seconds=30, what="the silent one to be failed"
        )
    else:
        assert fail_lost_runs(runs.instance, engine) == 1
    assert runs.status(lost) == runs.status(silent) == dg.DagsterRunStatus.FAILURE
    assert runs.status(alive) == runs.status(taken) == dg.DagsterRunStatus.NOT_STARTED
    assert "gives no sign of life any more" in runs.messages(lost)
    for run_id, worker in ((alive, here), (taken, gone)):
        heartbeats.end(engine, run_id=run_id, worker=worker)
