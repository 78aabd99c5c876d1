"""Of a run of the ledger little is kept, but all that assets, partitions, checks and failures are shown from."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEventType as Kind
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.instance import InstanceRef
from dagster._serdes import deserialize_value, serialize_value

from ingestion_assets.landing import dispatch
from ingestion_assets.landing.drops import Lane
from ingestion_assets.orchestration.kept_events import PassedChecks, compact, sparing
from ingestion_assets_tests.orchestration.conftest import Runs, execute, runs_of_a_worker
from ingestion_assets_tests.orchestration.one_payload import land_one

LANE = Lane("planned", "2026-01-31", "2026-01-31")
STORED = dg.AssetKey(["planned", "stored"])
CHECK = dg.AssetCheckKey(STORED, "as_planned")


pytestmark = pytest.mark.usefixtures("stores_of_the_process")


@pytest.fixture
def runs(dagster_home: Path, tmp_path: Path) -> Iterator[Runs]:
    """Runs of a process that has stored nothing yet."""
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(dagster_home))) as instance:
        yield Runs(instance=instance, folder=tmp_path)


def _run(runs: Runs, engine: sa.Engine, *, dispatched: bool, plan: str = "") -> str:
    with engine.begin() as connection:
        land_one(connection, LANE, plan=plan)
        tags = {"dagster/partition": LANE.partition}
        if dispatched:
            tags = dispatch.request(connection, [LANE])[0].tags()
    run_id = runs.create("planned", tags=tags)
    assert execute(runs.instance, run_id, runs_of_a_worker(engine))
    return run_id


def _kinds(runs: Runs, run_id: str) -> Counter[Kind]:
    logs = runs.instance.all_logs(run_id)
    return Counter(log.dagster_event.event_type for log in logs if log.dagster_event)


def _bytes(engine: sa.Engine, run_id: str) -> int:
    with engine.connect() as connection:
        query = "SELECT sum(pg_column_size(event)) FROM public.event_logs WHERE run_id = :run_id"
        return connection.execute(sa.text(query), {"run_id": run_id}).scalar_one()


def test_a_dispatched_run_keeps_what_the_ui_shows(runs: Runs, engine: sa.Engine) -> None:
    run_id = _run(runs, engine, dispatched=True)
    assert runs.status(run_id) == dg.DagsterRunStatus.SUCCESS
    assert _kinds(runs, run_id) == {
        Kind.RUN_START: 1, Kind.STEP_START: 1, Kind.ASSET_MATERIALIZATION: 3, Kind.ASSET_CHECK_EVALUATION: 2,
        Kind.STEP_SUCCESS: 1, Kind.RUN_SUCCESS: 1,
    }  # fmt: skip
    materialized = runs.instance.get_latest_materialization_event(dg.AssetKey(["planned", "raw_batches"]))
    assert materialized is not None
    assert materialized.run_id == run_id
    assert materialized.asset_materialization is not None
    assert materialized.asset_materialization.metadata["payloads"].value == 1
    assert runs.instance.get_materialized_partitions(STORED) == {LANE.partition}
    assert [stats.step_key for stats in runs.instance.get_run_step_stats(run_id)] == ["planned_claim"]
    by_hand = _run(runs, engine, dispatched=False)
    assert _kinds(runs, by_hand)[Kind.STEP_OUTPUT] == 5
    assert _bytes(engine, run_id) < 0.65 * _bytes(engine, by_hand)


def test_what_is_stored_of_an_event_reads_as_the_whole(runs: Runs, engine: sa.Engine) -> None:
    run_id = _run(runs, engine, dispatched=False)
    for entry in runs.instance.all_logs(run_id):
        event = entry.dagster_event
        assert event is not None
        whole = serialize_value(entry._replace(dagster_event=event._replace(logging_tags={"op_name": "o"})))
        assert deserialize_value(compact(whole), dg.EventLogEntry) == entry
        assert event.logging_tags == {}
        if event.node_handle is not None:
            assert event.step_handle == StepHandle.parse_from_key(str(event.step_key))


def test_a_check_of_a_run_is_one_row_that_says_how_it_went(runs: Runs, engine: sa.Engine) -> None:
    run_id = _run(runs, engine, dispatched=True)
    with engine.connect() as connection:
        query = sa.text(
            "SELECT execution_status FROM public.asset_check_executions WHERE run_id = :run_id AND check_name = 'as_planned'"
        )
        assert connection.scalars(query, {"run_id": run_id}).all() == ["SUCCEEDED"]
    latest = runs.instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])[CHECK]
    assert latest.run_id == run_id


def test_that_a_check_passes_is_stored_once_a_minute_and_after_a_failure(
    runs: Runs, engine: sa.Engine, dagster_home: Path, tmp_path: Path
) -> None:
    def stored(run_id: str) -> list[str]:
        query = "SELECT execution_status FROM public.asset_check_executions WHERE run_id = :run_id AND check_name = 'as_planned'"
        with engine.connect() as connection:
            return list(connection.scalars(sa.text(query), {"run_id": run_id}))

    passes = ["SUCCEEDED"]
    assert stored(_run(runs, engine, dispatched=True)) == passes
    assert stored(_run(runs, engine, dispatched=True)) == []
    by_hand = _run(runs, engine, dispatched=False)
    assert stored(by_hand) == passes
    assert _kinds(runs, by_hand)[Kind.ASSET_CHECK_EVALUATION] == 2
    assert stored(_run(runs, engine, dispatched=True, plan="fail the check")) == ["FAILED"]
    assert stored(_run(runs, engine, dispatched=True)) == passes, "it passes again"
    assert stored(_run(runs, engine, dispatched=True)) == []
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(dagster_home))) as instance:
        another = Runs(instance=instance, folder=tmp_path)  # as another process has it
        assert stored(_run(another, engine, dispatched=True, plan="fail the check")) == ["FAILED"]
    assert stored(_run(runs, engine, dispatched=True)) == passes, "it has failed in another process meanwhile"


def test_that_a_check_passes_is_known_once_it_is_stored(runs: Runs, engine: sa.Engine) -> None:
    run_id = _run(runs, engine, dispatched=True)
    entry = next(
        one
        for one in runs.instance.all_logs(run_id)
        if one.dagster_event and one.dagster_event.event_type == Kind.ASSET_CHECK_EVALUATION
    )
    passed = PassedChecks(again_after_s=60)
    with sparing(run_id, spare=True):
        for _ in range(2):  # what could not be stored is tried again
            assert not passed.are_known(entry, failed=list)
        passed.remember(entry)
        assert passed.are_known(entry, failed=list)
    assert not passed.are_known(entry, failed=list), "a run by hand"
    with sparing(run_id, spare=True, checks=False):
        assert not passed.are_known(entry, failed=list), "a run of hours"


def test_a_run_that_failed_can_be_executed_again_from_there(runs: Runs, engine: sa.Engine) -> None:
    run_id = _run(runs, engine, dispatched=True, plan="fail the check")
    kinds = _kinds(runs, run_id)
    assert kinds[Kind.ASSET_MATERIALIZATION_PLANNED] == 3, "the UI shows what was tried in vain"
    assert kinds[Kind.STEP_FAILURE] == 1
    run = runs.instance.get_run_by_id(run_id)
    assert run is not None
    steps, _ = KnownExecutionState.build_resume_retry_reexecution(runs.instance, run)
    assert steps == ["planned_claim"], "all stages, which are one step"


def test_of_other_projects_checks_all_is_kept(runs: Runs) -> None:
    """Of one that was not evaluated, Dagster shows what was planned."""

    @dg.asset(check_specs=[dg.AssetCheckSpec("paid", asset="warranty_claim")])
    def warranty_claim() -> dg.MaterializeResult:
        raise ValueError("planted")

    run_id = dg.materialize([warranty_claim], instance=runs.instance, raise_on_error=False).run_id
    assert _kinds(runs, run_id)[Kind.ASSET_CHECK_EVALUATION_PLANNED] == 1
