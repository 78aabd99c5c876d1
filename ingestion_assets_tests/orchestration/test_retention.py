"""Old runs go with their logs; what Dagster says of assets and partitions stays."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion_assets.orchestration.retention import expired_runs
from ingestion_assets_tests.orchestration.conftest import Runs

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
KEYS = [dg.AssetKey("letters"), dg.AssetKey("whole")]


@dg.asset(partitions_def=LETTERS)
def letters() -> None:
    """One of several partitions."""


@dg.asset
def whole() -> None:
    """Without partitions."""


def test_superseded_runs_go_and_the_state_of_every_partition_stays(runs: Runs) -> None:
    instance = runs.instance

    def materialize(asset: dg.AssetsDefinition, partition: str | None = None) -> str:
        return dg.materialize([asset], instance=instance, partition_key=partition).run_id

    superseded = {materialize(letters, "a"), materialize(letters, "a"), materialize(whole)}
    newest = {materialize(letters, "a"), materialize(letters, "b"), materialize(whole)}
    unfinished = runs.create("chain")
    before = _state(instance)
    assert set(expired_runs(instance, before=datetime.now(UTC) - timedelta(days=1))) == set()
    for run_id in (expired := list(expired_runs(instance, before=datetime.now(UTC) + timedelta(days=1)))):
        instance.delete_run(run_id)
    assert superseded <= set(expired)
    assert not (newest | {unfinished}) & set(expired)
    assert _state(instance) == before
    assert all(instance.get_run_by_id(run_id) is None for run_id in superseded)
    assert [event for run_id in superseded for event in instance.all_logs(run_id)] == []


def _state(instance: dg.DagsterInstance) -> object:
    latest = [instance.get_latest_materialization_event(key) for key in KEYS]
    partitions = instance.get_materialized_partitions(KEYS[0])
    by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(
        KEYS[0], dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return partitions, by_partition, [event and event.timestamp for event in latest]
