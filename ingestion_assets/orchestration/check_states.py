"""What every check said the last time, for each partition of its own: read from Dagster's event log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, EventLogEntry

from ingestion_assets.orchestration.dagster_internals import SqlEventLogStorage, deserialize_value

_NEWEST = sa.text("""
    SELECT asset_key, check_name, partition, evaluation_event FROM asset_check_executions WHERE id IN (
        SELECT max(id) FROM asset_check_executions
        WHERE execution_status IN ('SUCCEEDED', 'FAILED') GROUP BY asset_key, check_name, partition
    ) AND (:asset_keys IS NULL OR asset_key = ANY(:asset_keys))
      AND (NOT :failed_only OR execution_status = 'FAILED')
      AND (CAST(:since AS timestamp) IS NULL OR evaluation_event_timestamp >= :since)
    ORDER BY asset_key, check_name, partition
""").bindparams(sa.bindparam("asset_keys", type_=sa.ARRAY(sa.Text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """The last word of a check, on one partition or on its whole asset."""

    asset: str
    check: str
    partition: str | None
    passed: bool
    severity: str
    """`ERROR` or `WARN`; of a check that blocks what comes after it always `ERROR`."""
    at: datetime
    run_id: str
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        """As it is selected: `notes/notes:reject_rate`."""
        return f"{self.asset}:{self.check}"


def newest_states(
    instance: dg.DagsterInstance,
    *,
    assets: Sequence[dg.AssetKey] | None = None,
    failed_only: bool = False,
    since: datetime | None = None,
) -> list[CheckState]:
    """The last word of each check and partition; of `assets` only, of those that failed only, if said `since` then."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"the event log is no table but a {type(storage).__name__}")
    values = {
        "asset_keys": None if assets is None else [key.to_string() for key in assets],
        "failed_only": failed_only,
        "since": None if since is None else since.astimezone(UTC).replace(tzinfo=None),
    }
    with storage.index_connection() as connection:
        rows = connection.execute(_NEWEST, values).all()
    return [state for row in rows if (state := _state(row.partition, row.evaluation_event))]


def _state(partition: str | None, event: str) -> CheckState | None:
    entry = deserialize_value(event, EventLogEntry)
    said = entry.dagster_event.event_specific_data if entry.dagster_event else None
    if not isinstance(said, AssetCheckEvaluation):
        return None
    return CheckState(
        asset=said.asset_key.to_user_string(),
        check=said.check_name,
        partition=partition,
        passed=said.passed,
        severity="ERROR" if said.blocking else said.severity.value,
        at=datetime.fromtimestamp(entry.timestamp, UTC),
        run_id=entry.run_id,
        metadata={name: value.value for name, value in said.metadata.items()},
    )
