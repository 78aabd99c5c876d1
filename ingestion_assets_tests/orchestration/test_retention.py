"""Old runs go with all that is about them; what Dagster says of assets, partitions and checks stays."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.instance import InstanceRef

from ingestion_assets.orchestration.compute_logs import SparingComputeLogManager
from ingestion_assets.orchestration.expired_runs import (
    bytes_of_a_run,
    delete_runs,
    due,
    expired_runs,
    make_room,
    surplus_runs,
)
from ingestion_assets.orchestration.kept_events import sparing
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.orchestration.conftest import Runs

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
KEYS = [dg.AssetKey("letters"), dg.AssetKey("whole")]
CHECK = dg.AssetCheckKey(dg.AssetKey("whole"), "good")
LATER = timedelta(days=1)


class Config(dg.Config):
    """How the run ends."""

    fails: bool = False


@dg.asset(partitions_def=LETTERS)
def letters(config: Config) -> None:
    """One of several partitions."""
    if config.fails:
        raise ValueError("planted")


@dg.asset(check_specs=[dg.AssetCheckSpec("good", asset="whole")])
def whole() -> dg.MaterializeResult:
    """Without partitions."""
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="good", passed=True)])


def _materialize(
    runs: Runs, asset: dg.AssetsDefinition, partition: str | None = None, *, fails: bool = False
) -> str:
    config = {"ops": {"letters": {"config": {"fails": fails}}}} if asset is letters else None
    return dg.materialize(
        [asset], instance=runs.instance, partition_key=partition, run_config=config, raise_on_error=False
    ).run_id


def test_superseded_runs_go_and_the_state_of_everything_stays(runs: Runs) -> None:
    instance = runs.instance
    superseded = {
        _materialize(runs, letters, "a"),
        _materialize(runs, letters, "a"),
        _materialize(runs, whole),
    }
    superseded.add(_materialize(runs, letters, "c", fails=True))
    newest = {_materialize(runs, letters, "a"), _materialize(runs, letters, "b"), _materialize(runs, whole)}
    newest.add(_materialize(runs, letters, "c", fails=True))
    unfinished = runs.create("chain")
    before = _state(instance)
    assert expired_runs(instance, before=datetime.now(UTC) - LATER) == []
    expired = expired_runs(instance, before=datetime.now(UTC) + LATER)
    assert expired_runs(instance, before=datetime.now(UTC) + LATER, most=2) == expired[:2]
    delete_runs(instance, expired)
    make_room(instance)
    assert superseded <= set(expired)
    assert not (newest | {unfinished}) & set(expired)
    assert _state(instance) == before
    assert all(instance.get_run_by_id(run_id) is None for run_id in superseded)
    assert [event for run_id in superseded for event in instance.all_logs(run_id)] == []
    with instance.event_log_storage.index_connection() as connection:  # pyright: ignore[reportAttributeAccessIssue]
        left = "SELECT count(*) FROM {} WHERE run_id = ANY(:runs)"
        for table in ("asset_check_executions", "run_tags", "event_logs"):
            query = sa.text(left.format(table))
            assert connection.execute(query, {"runs": sorted(superseded)}).scalar_one() == 0
        orphans = "SELECT count(*) FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs)"
        assert connection.execute(sa.text(orphans)).scalar_one() == 0


def test_a_run_that_failed_goes_once_a_run_of_the_ledger_wrote_the_same(runs: Runs) -> None:
    """What that one had planned is gone with its success, so the plan of the one that failed is the newest there is."""
    failed = _materialize(runs, letters, "b", fails=True)
    run_id = str(uuid.uuid4())
    job = dg.Definitions(assets=[letters]).resolve_implicit_global_asset_job_def()
    with sparing(run_id, spare=True):
        job.execute_in_process(run_id=run_id, partition_key="b", instance=runs.instance)
    assert not runs.count(run_id, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    expired = expired_runs(runs.instance, before=datetime.now(UTC) + LATER)
    assert failed in expired
    assert run_id not in expired


def test_what_a_deleted_run_printed_goes_too(dagster_home: Path, tmp_path: Path) -> None:
    """With the compute logs that ship; those of a person's run are kept until then."""
    config = json.loads((dagster_home / "dagster.yaml").read_text(encoding="utf-8"))
    manager = {"module": SparingComputeLogManager.__module__, "class": SparingComputeLogManager.__name__}
    written = json.dumps({**config, "compute_logs": manager})
    (tmp_path / "dagster.yaml").write_text(written, encoding="utf-8")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        run_id = dg.materialize([whole], instance=instance).run_id
        assert list(tmp_path.glob(f"storage/{run_id}/compute_logs/*.err"))
        delete_runs(instance, [run_id])
        assert not (tmp_path / "storage" / run_id).exists()


def test_the_settings_say_how_many_days_and_gigabytes(runs: Runs) -> None:
    for _ in range(4):
        _materialize(runs, letters, "a")
    each = bytes_of_a_run(runs.instance)
    assert 5_000 < each < 200_000
    number = runs.instance.get_runs_count()
    assert surplus_runs(runs.instance, gigabytes=1) == 0
    assert surplus_runs(runs.instance, gigabytes=(number - 2.5) * each / 1e9) == 3

    def due_with(now: datetime, **settings: Any) -> list[str]:
        with environment(**{f"INGESTION_{name.upper()}": value for name, value in settings.items()}):
            return due(runs.instance, now)

    now = datetime.now(UTC)
    small = 2.5 * each / 1e9
    assert due_with(now) == []
    assert len(due_with(now + timedelta(days=31))) >= 3
    assert due_with(now + timedelta(days=31), run_retention_days=0) == []
    assert due_with(now, run_retention_days=0, run_retention_gb=small) == [], "all are too young"
    assert len(due_with(now + timedelta(hours=2), run_retention_days=0, run_retention_gb=small)) >= 3


def _state(instance: dg.DagsterInstance) -> object:
    latest = [instance.get_latest_materialization_event(key) for key in KEYS]
    log = instance.event_log_storage
    partitions = instance.get_materialized_partitions(KEYS[0])
    by_partition = [
        log.get_latest_storage_id_by_partition(KEYS[0], kind)
        for kind in (
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        )
    ]
    tried = log.get_latest_asset_partition_materialization_attempts_without_materializations(KEYS[0])
    check = log.get_latest_asset_check_execution_by_key([CHECK])[CHECK]
    times = [event and event.timestamp for event in latest]
    return partitions, by_partition, tried, (check.run_id, check.status), times
