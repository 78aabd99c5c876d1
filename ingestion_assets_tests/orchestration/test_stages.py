"""A claim is worked through in one step, whose stages are reported as they end, can be chosen, and are repeated alone."""

from collections.abc import Iterator

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEventType as Kind
from dagster._core.execution.api import execute_run_iterator
from dagster._core.origin import JobPythonOrigin

from ingestion_assets.landing.drops import Lane
from ingestion_assets.orchestration.warm_code import WarmCode
from ingestion_assets_tests.orchestration import jobs_for_tests
from ingestion_assets_tests.orchestration.conftest import Runs, execute, runs_of_a_worker
from ingestion_assets_tests.orchestration.one_payload import land_one

LANE = Lane("planned", "2026-02-01", "2026-02-01")
RAW, STORED, LOG = (dg.AssetKey(["planned", name]) for name in ("raw_batches", "stored", "ingestion_log"))
CHECK = dg.AssetCheckKey(STORED, "as_planned")

pytestmark = pytest.mark.usefixtures("stores_of_the_process")


def _by_a_person(runs: Runs, engine: sa.Engine, *assets: dg.AssetKey, plan: str = "") -> str:
    with engine.begin() as connection:
        land_one(connection, LANE, plan=plan)
    tags = {"dagster/partition": LANE.partition}
    return runs.create("planned", tags=tags, asset_selection=set(assets) or None)


def _execute(runs: Runs, engine: sa.Engine, run_id: str) -> None:
    assert execute(runs.instance, run_id, runs_of_a_worker(engine))


def _materialized(runs: Runs, run_id: str) -> list[dg.AssetKey]:
    logs = runs.instance.all_logs(run_id, of_type=Kind.ASSET_MATERIALIZATION)
    return [log.dagster_event.asset_key for log in logs if log.dagster_event and log.dagster_event.asset_key]


def _ledger(engine: sa.Engine) -> tuple[str, int]:
    """The state of the payload, and how many lanes are held."""
    with engine.connect() as connection:
        query = "SELECT state, (SELECT count(*) FROM ingestion.leases) FROM ingestion.drops"
        state, held = connection.execute(sa.text(query)).one()
    return state, held


def test_what_was_written_before_a_stage_failed_stays_reported(runs: Runs, engine: sa.Engine) -> None:
    run_id = _by_a_person(runs, engine, plan="quote the payload")
    _execute(runs, engine, run_id)
    assert runs.status(run_id) == dg.DagsterRunStatus.FAILURE
    assert _materialized(runs, run_id) == [RAW]
    assert _ledger(engine) == ("landed", 0)


def test_nothing_is_done_after_a_check_that_blocks(runs: Runs, engine: sa.Engine) -> None:
    run_id = _by_a_person(runs, engine, plan="fail the check")
    _execute(runs, engine, run_id)
    assert runs.status(run_id) == dg.DagsterRunStatus.FAILURE
    assert _materialized(runs, run_id) == [RAW, STORED]
    assert runs.count(run_id, Kind.ASSET_CHECK_EVALUATION) == 1
    assert "planned/stored failed as_planned" in str(
        runs.instance.all_logs(run_id, of_type=Kind.STEP_FAILURE)
    )
    assert _ledger(engine) == ("landed", 0)


def test_a_stage_is_repeated_alone_after_what_passes_and_says_how_long_it_took(
    runs: Runs, engine: sa.Engine
) -> None:
    run_id = _by_a_person(runs, engine, plan="come back")
    _execute(runs, engine, run_id)
    assert runs.status(run_id) == dg.DagsterRunStatus.SUCCESS
    assert _materialized(runs, run_id) == [RAW, STORED, LOG]
    assert runs.count(run_id, Kind.STEP_START) == 1
    event = runs.instance.get_latest_materialization_event(STORED)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["tries"].value == 3
    assert float(str(metadata["seconds"].value)) >= 0.5 + 1.0
    assert "Tried again in 1.0 s after LandingUnavailableError: planted" in runs.messages(run_id)


@pytest.mark.parametrize(
    ("chosen", "ledger"),
    [
        ([RAW], ("landed", 0)),
        ([STORED], ("landed", 0)),
        ([LOG], ("done", 0)),
        ([RAW, STORED, LOG], ("done", 0)),
    ],
)
def test_chosen_assets_alone_are_written(
    runs: Runs, engine: sa.Engine, chosen: list[dg.AssetKey], ledger: tuple[str, int]
) -> None:
    run_id = _by_a_person(runs, engine, *chosen)
    _execute(runs, engine, run_id)
    assert runs.status(run_id) == dg.DagsterRunStatus.SUCCESS
    assert _materialized(runs, run_id) == chosen
    assert runs.count(run_id, Kind.ASSET_CHECK_EVALUATION) == (STORED in chosen) + (LOG in chosen)
    assert _ledger(engine) == ledger


def test_a_check_of_a_stage_is_not_made_without_it(runs: Runs, engine: sa.Engine) -> None:
    """The UI offers it where a step can be executed in part; without a claim there is nothing to look at."""
    with engine.begin() as connection:
        land_one(connection, LANE)
    job = jobs_for_tests.defs.get_repository_def().get_job("planned")
    alone = job.get_subset(asset_selection=set(), asset_check_selection={CHECK})
    run_id = alone.execute_in_process(instance=runs.instance).run_id
    assert runs.status(run_id) == dg.DagsterRunStatus.SUCCESS
    assert "materialize those" in runs.messages(run_id)
    assert _materialized(runs, run_id) == []
    with engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM public.asset_check_executions WHERE run_id = :run_id")
        assert connection.scalar(query, {"run_id": run_id}) == 0, "what is known of it stays"
    assert _ledger(engine) == ("landed", 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Dagster's step, closed
def test_nobody_beats_for_a_run_that_dagster_gives_up_between_two_stages(
    runs: Runs, engine: sa.Engine
) -> None:
    """As where its database is gone when a stage is to be reported: the stages never learn why they end."""
    run_id = _by_a_person(runs, engine)
    for _ in _until_the_first_report(runs, run_id):
        pass
    assert _materialized(runs, run_id) == [RAW]
    with engine.connect() as connection:
        query = sa.text("SELECT ended_at IS NOT NULL FROM ingestion.run_heartbeats WHERE run_id = :run_id")
        assert connection.scalar(query, {"run_id": run_id})
    assert _ledger(engine) == ("claimed", 1), "it waits for the run's retries, then the sensor gives it back"


def _until_the_first_report(runs: Runs, run_id: str) -> Iterator[None]:
    run = runs.instance.get_run_by_id(run_id)
    assert run is not None
    assert isinstance(run.job_code_origin, JobPythonOrigin)
    events = execute_run_iterator(WarmCode().job(run.job_code_origin), run, runs.instance)
    for event in events:
        if event.event_type == Kind.ASSET_MATERIALIZATION:
            break
        yield
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
