"""What checks said of a partition before, as Dagster's event log has it. Runs ask; definitions do without."""

from collections.abc import Sequence

import dagster as dg
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, EventLogEntry
from dagster_postgres import PostgresEventLogStorage

from ingestion_assets.orchestration.dagster_internals import deserialize_value
from ingestion_assets.orchestration.partition_checks import Known

_NEWEST = sa.text("""
    SELECT wanted.asset_key, wanted.check_name, newest.run_id, execution_status = 'FAILED' AS red,
           CASE WHEN execution_status = 'FAILED' THEN evaluation_event END AS failed
    FROM unnest(CAST(:asset_keys AS text[]), CAST(:check_names AS text[])) AS wanted (asset_key, check_name), LATERAL (
        SELECT run_id, execution_status, evaluation_event FROM asset_check_executions one
        WHERE one.asset_key = wanted.asset_key AND one.check_name = wanted.check_name AND partition = :partition
            AND execution_status IN ('SUCCEEDED', 'FAILED') ORDER BY id DESC LIMIT 1
    ) newest
""")
_KNOWN = sa.text("""
    SELECT partition FROM unnest(CAST(:partitions AS text[])) AS partition WHERE EXISTS (
        SELECT FROM unnest(CAST(:asset_keys AS text[]), CAST(:check_names AS text[])) AS wanted (asset_key, check_name)
        JOIN asset_check_executions one USING (asset_key, check_name)
        WHERE one.partition = partition.partition AND execution_status IN ('SUCCEEDED', 'FAILED')
    )
""")


def known_partitions(
    instance: dg.DagsterInstance, specs: Sequence[dg.AssetCheckSpec], *, partitions: Sequence[str]
) -> set[str]:
    """Those of the partitions of which any of these checks has said something."""
    values = {
        "partitions": list(partitions), "asset_keys": [spec.asset_key.to_string() for spec in specs],
        "check_names": [spec.name for spec in specs],
    }  # fmt: skip
    with _event_log(instance).index_connection() as connection:
        return set(connection.scalars(_KNOWN, values))


def known_of(
    instance: dg.DagsterInstance, specs: Sequence[dg.AssetCheckSpec], *, partition: str
) -> dict[dg.AssetCheckKey, Known]:
    """The last word of each of these checks on the partition. One look into an index of ours for each (`stack/migrations.py`):
    Dagster's own question, of all partitions at once, takes 0.2 s once a month of runs is there."""
    keys = {(spec.asset_key.to_string(), spec.name): spec.key for spec in specs}
    values = {
        "asset_keys": [asset for asset, _ in keys], "check_names": [name for _, name in keys], "partition": partition,
    }  # fmt: skip
    with _event_log(instance).index_connection() as connection:
        rows = connection.execute(_NEWEST, values).all()
    return {
        keys[row.asset_key, row.check_name]: Known(row.red, row.run_id, _evaluation(row.failed))
        for row in rows
    }


def _event_log(instance: dg.DagsterInstance) -> PostgresEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        raise TypeError(
            f"checks of partitions need an event log in PostgreSQL, not a {type(storage).__name__}"
        )
    return storage


def _evaluation(event: str | None) -> AssetCheckEvaluation | None:
    said = deserialize_value(event, EventLogEntry).dagster_event if event else None
    return said.asset_check_evaluation_data if said else None
