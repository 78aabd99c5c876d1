"""Keys of dynamic partitions beyond a flow's bound leave Dagster's list, those idle the longest first, and none that is in use."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from uuid_utils.compat import uuid7

from ingestion_assets.landing.flows import Flow, Keys
from ingestion_assets.orchestration.key_retention import archive_idle_keys

THINGS = Flow(name="things", partitions=Keys(name="things", at_most=2, partition_of=lambda key: key[0]))
LAND = sa.text("""
    INSERT INTO ingestion.drops (id, flow, partition, lane, principal, records, size_bytes, body_sha256, segment,
                                 "offset", length, received_at, finished_at, state, attributes)
    VALUES (:id, 'things', :key, :key, 'p', 1, 1, '\\x00', 's', 0, 1, :at, :finished_at, :state, '{}')
""")


@pytest.fixture
def instance(stores_of_the_process: None) -> dg.DagsterInstance:
    del stores_of_the_process
    return dg.DagsterInstance.ephemeral()


def land(engine: sa.Engine, key: str, *, days_ago: float, state: str = "done") -> None:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    finished_at = at if state == "done" else None
    with engine.begin() as connection:
        connection.execute(
            LAND, {"id": uuid7(), "key": key, "at": at, "state": state, "finished_at": finished_at}
        )


def test_the_keys_idle_the_longest_are_archived(instance: dg.DagsterInstance, engine: sa.Engine) -> None:
    instance.add_dynamic_partitions("things", ["a-named", "b-named", "c-named", "d", "e", "f"])
    for key, days_ago in {"a": 3.0, "b": 9.0, "c": 0.5, "d": 5.0, "e": 7.0}.items():
        land(engine, key, days_ago=days_ago)
    land(engine, "b", days_ago=8.0, state="landed")  # waits still
    instance.create_run_for_job(_noop(), tags={"dagster/partition": "e"}, status=dg.DagsterRunStatus.STARTED)
    # One asset of it, materialized by hand.
    instance.create_run_for_job(
        _noop("__ASSET_JOB"), tags={"dagster/partition": "a-named"}, status=dg.DagsterRunStatus.STARTED
    )
    said = archive_idle_keys(instance, THINGS)
    assert said is not None
    assert "things had 6 keys (bound: 2); 2 were archived" in said
    # `f` was never used; `b` waits, `e` and `a` are carried by runs, `c` was in use today.
    assert sorted(instance.get_dynamic_partitions("things")) == ["a-named", "b-named", "c-named", "e"]


def test_while_a_backfill_is_at_work_none_is_archived_however_many_are_newer(
    instance: dg.DagsterInstance,
) -> None:
    instance.add_dynamic_partitions("things", ["a", "b", "c"])
    for number in range(102):
        status = BulkActionStatus.COMPLETED_SUCCESS if number else BulkActionStatus.REQUESTED
        instance.add_backfill(
            PartitionBackfill(
                backfill_id=str(number), status=status, from_failure=False, tags={}, backfill_timestamp=float(number), asset_selection=[]
            )
        )  # fmt: skip
    said = archive_idle_keys(instance, THINGS)
    assert said == "things has 3 keys (bound: 2); none is archived while a backfill is at work."


def test_within_the_bound_nothing_is_touched(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("things", ["a", "b"])
    assert archive_idle_keys(instance, THINGS) is None
    assert archive_idle_keys(instance, Flow(name="daily")) is None
    assert sorted(instance.get_dynamic_partitions("things")) == ["a", "b"]


def _noop(name: str = THINGS.name) -> dg.JobDefinition:
    @dg.job(name=name)
    def things() -> None: ...

    return things
