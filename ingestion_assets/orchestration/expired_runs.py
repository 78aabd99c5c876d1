"""Which of Dagster's runs are old enough or too much, and deleting them with their events, checks and files.

Runs that wrote the newest word on something stay: on every asset and partition (materialized, observed, or tried in vain) and on
every check. So nothing changes its state in the UI; what goes is the history before it. Payloads have a retention of their own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import sqlalchemy as sa

from ingestion_assets.orchestration.dagster_internals import FINISHED_STATUSES, SqlEventLogStorage
from ingestion_assets.settings import load_settings

RUNS_AT_ONCE = 500
AT_LEAST = timedelta(hours=1)  # that even surplus runs are kept for: a person may be looking at them
SAMPLE = 100
OVERHEAD = 1.8  # of what rows hold, for indexes and pages that are not full: measured

_TABLES = ("event_logs", "asset_check_executions", "asset_event_tags", "run_tags", "runs")
# What was planned counts where nothing was written since: that was tried in vain.
_NEWEST_ON_ASSETS = sa.text("""
    WITH newest AS (
        SELECT max(id) FILTER (WHERE dagster_event_type = 'ASSET_MATERIALIZATION') AS written,
               max(id) FILTER (WHERE dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED') AS planned,
               max(id) FILTER (WHERE dagster_event_type = 'ASSET_OBSERVATION') AS observed
        FROM event_logs
        WHERE dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED', 'ASSET_OBSERVATION')
            AND asset_key IS NOT NULL
        GROUP BY asset_key, partition
    )
    SELECT DISTINCT run_id FROM event_logs WHERE id IN (
        SELECT unnest(ARRAY[written, observed, CASE WHEN planned > coalesce(written, 0) THEN planned END]) FROM newest
    )
""")
_NEWEST_ON_CHECKS = sa.text("""
    SELECT DISTINCT run_id FROM asset_check_executions WHERE id IN (
        SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name, partition
    )
""")
_EXPIRED = sa.text("""
    SELECT run_id FROM runs
    WHERE status = ANY(:finished) AND update_timestamp < :before AND NOT run_id = ANY(:kept) ORDER BY id LIMIT :most
""")
_HELD = "SELECT coalesce(sum(pg_column_size(held.*)), 0) FROM {} held WHERE run_id = ANY(:run_ids)"
# What is about a run first, the run last: killed in between, it is found again.
_DELETE = [
    sa.text("""
        DELETE FROM asset_event_tags WHERE event_id IN (
            SELECT id FROM event_logs WHERE run_id = ANY(:run_ids)
                AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
        )
    """),
    sa.text("DELETE FROM event_logs WHERE run_id = ANY(:run_ids)"),
    sa.text("DELETE FROM asset_check_executions WHERE run_id = ANY(:run_ids)"),
    sa.text("DELETE FROM runs WHERE run_id = ANY(:run_ids)"),
]


def expired_runs(instance: dg.DagsterInstance, *, before: datetime, most: int | None = None) -> list[str]:
    """Ids of the runs that ended before then and are the newest word on nothing, oldest first, `most` at most."""
    with _log(instance).index_connection() as connection:
        kept = {
            *connection.scalars(_NEWEST_ON_ASSETS),
            *connection.scalars(_NEWEST_ON_CHECKS),
        }
        values = {
            "finished": [status.value for status in FINISHED_STATUSES],
            "before": before.astimezone(UTC).replace(tzinfo=None),
            "kept": sorted(kept),
            "most": most,
        }
        return list(connection.scalars(_EXPIRED, values))


def bytes_of_a_run(instance: dg.DagsterInstance) -> int:
    """What a run takes in the database, on the average of the newest ones; 0 where there are none."""
    with _log(instance).index_connection() as connection:
        newest = list(
            connection.scalars(sa.text("SELECT run_id FROM runs ORDER BY id DESC LIMIT :n"), {"n": SAMPLE})
        )
        tables = [table for table in _TABLES if table != "asset_event_tags"]
        held = sum(
            connection.execute(sa.text(_HELD.format(table)), {"run_ids": newest}).scalar_one()
            for table in tables
        )
    return round(OVERHEAD * held / len(newest)) if newest else 0


def surplus_runs(instance: dg.DagsterInstance, *, gigabytes: float) -> int:
    """How many runs there are beyond those that take so much."""
    each = bytes_of_a_run(instance)
    return max(0, instance.get_runs_count() - int(gigabytes * 1e9 / each)) if each else 0


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs that are over, with all that is about them, the files of what they printed included."""
    with _log(instance).index_connection() as connection:
        for start in range(0, len(run_ids), RUNS_AT_ONCE):
            some = list(run_ids[start : start + RUNS_AT_ONCE])
            for statement in _DELETE:
                connection.execute(statement, {"run_ids": some})
            for run_id in some:
                instance.compute_log_manager.delete_logs(prefix=[run_id])


def make_room(instance: dg.DagsterInstance) -> None:
    """Have PostgreSQL use again what deleted runs held; it does not give that back to the disk."""
    with _log(instance).index_connection() as connection:
        connection.execute(sa.text(f"VACUUM (ANALYZE) {', '.join(_TABLES)}"))


def due(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """The runs that the settings say are to go, oldest first."""
    settings = load_settings()
    days, gigabytes = settings.run_retention_days, settings.run_retention_gb
    runs = dict.fromkeys(expired_runs(instance, before=now - timedelta(days=days)) if days else [])
    if gigabytes is not None and (most := surplus_runs(instance, gigabytes=gigabytes)):
        runs |= dict.fromkeys(expired_runs(instance, before=now - AT_LEAST, most=most))
    return list(runs)


def _log(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"the event log is no table but a {type(storage).__name__}")
    return storage
