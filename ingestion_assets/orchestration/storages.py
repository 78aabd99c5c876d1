"""Dagster's three PostgreSQL storages on one small connection pool per process.

Named in `dagster.yaml`. Without a `postgres_url` there they use that of the settings. Where there is none either, as when
definitions are validated on a machine without a stack, they only fail when they are used.
"""

import os
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import sqlalchemy as sa
from dagster import AssetCheckKey, AssetKey, EventLogEntry, Field, IntSource, StringSource
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from ingestion_assets.orchestration.dagster_internals import (
    AssetCheckExecutionsTable,
    ConfigurableClassData,
    SqlEventLogStorageTable,
    create_engine,
)
from ingestion_assets.orchestration.kept_events import (
    Failed,
    PassedChecks,
    compact,
    has_come_true,
    is_kept,
)
from ingestion_assets.settings import load_settings
from ingestion_assets.stores.postgres import KEEPALIVE, driver_url

POOL_SIZE = 2
POOL_RECYCLE_S = 900
CONNECT_TIMEOUT_S = 5

_FORGET_PLANS = sa.text(
    "DELETE FROM event_logs WHERE run_id = :run_id AND dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'"
)
_NEWEST_CHECK = sa.text("SELECT max(id) FROM asset_check_executions")
_FAILED_CHECKS = sa.text(
    "SELECT DISTINCT asset_key, check_name, partition FROM asset_check_executions "
    "WHERE id > :seen AND execution_status = 'FAILED'"
)

CONFIG = {
    "postgres_url": Field(StringSource, is_required=False, description="Default: the URL of the settings."),
    "should_autocreate_tables": Field(bool, is_required=False, default_value=True),
    "pool_size": Field(IntSource, is_required=False, default_value=POOL_SIZE),
    "max_overflow": Field(IntSource, is_required=False, default_value=10),
}


class Compact(sa.TypeDecorator[str]):
    """Text of a serialized event, which takes less room and is read as it is."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else compact(value)


for _column in (SqlEventLogStorageTable.c.event, AssetCheckExecutionsTable.c.evaluation_event):
    _column.type = Compact()


def fork_safe(engine: sa.Engine) -> sa.Engine:
    """`engine`; a forked child gets an empty pool and leaves the parent's connections alone."""
    reference = weakref.ref(engine)

    def forget_connections() -> None:
        inherited = reference()
        if inherited is not None:
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=forget_connections)
    return engine


@lru_cache(maxsize=8)
def pooled_engine(
    url: str, pool_size: int = POOL_SIZE, max_overflow: int = 10, statement_timeout_ms: int = 0
) -> sa.Engine:
    """The process's engine for Dagster, shared by the three storages; usable across a fork."""
    if url == NOWHERE:
        return create_engine(url, creator=lambda: load_settings().require("postgres_url"))
    parsed = driver_url(url, "psycopg2")
    # For a user called `ingestion`, unqualified tables would end up in our schema of that name.
    given = parsed.query.get("options", "")
    options = f"{given} -c search_path=public -c statement_timeout={statement_timeout_ms}".strip()
    return fork_safe(
        create_engine(
            parsed,
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_recycle=POOL_RECYCLE_S,
            pool_pre_ping=True,
            pool_use_lifo=True,
            connect_args={
                "options": options,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "dagster",
                **KEEPALIVE,
            },
        )
    )


NOWHERE = "postgresql+psycopg2:///"


def _arguments(inst_data: ConfigurableClassData | None, config: Mapping[str, Any]) -> dict[str, Any]:
    url = config.get("postgres_url") or load_settings().postgres_url
    return {
        "postgres_url": driver_url(url, "psycopg2").render_as_string(hide_password=False) if url else NOWHERE,
        "should_autocreate_tables": bool(url) and config.get("should_autocreate_tables", True),
        "inst_data": inst_data,
        "pool_size": config.get("pool_size", POOL_SIZE),
        "max_overflow": config.get("max_overflow", 10),
    }


class _Pooled:
    """What the three have in common: an engine of ours in place of the parent's."""

    postgres_url: str
    _engine: sa.Engine

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        pool_size: int = POOL_SIZE,
        max_overflow: int = 10,
    ):
        self._pool_size = pool_size
        self._known: set[tuple[str, ...]] = set()
        super().__init__(
            postgres_url,  # pyright: ignore[reportCallIssue]
            should_autocreate_tables=should_autocreate_tables,
            inst_data=inst_data,
        )
        self._engine = pooled_engine(postgres_url, pool_size, max_overflow)

    def optimize_for_webserver(
        self,
        statement_timeout: int,
        pool_recycle: int,  # noqa: ARG002
        max_overflow: int,
    ) -> None:
        """For the webserver, whose requests must not wait for ever: statements are bounded in time (ms)."""
        self._engine = pooled_engine(
            self.postgres_url, max(self._pool_size, 4), max_overflow, statement_timeout
        )

    @classmethod
    def config_type(cls) -> Any:
        return CONFIG

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Any:
        return cls(**_arguments(inst_data, config_value))


def _asked_once(name: str) -> Any:
    """The parent's method `name`, a look into the catalog, asked only until the answer is yes.

    Dagster asks at nearly every event, which was a fifth of a short run's time. Its schema only grows.
    """

    def ask(self: _Pooled, *arguments: Any) -> bool:
        question = (name, *(argument for argument in arguments if isinstance(argument, str)))
        if question not in self._known:
            if not getattr(super(_Pooled, self), name)(*arguments):
                return False
            self._known.add(question)
        return True

    return ask


class PooledPostgresRunStorage(_Pooled, PostgresRunStorage):
    """dagster-postgres's run storage on a pool."""

    has_run_stats_index_cols = _asked_once("has_run_stats_index_cols")
    has_bulk_actions_selector_cols = _asked_once("has_bulk_actions_selector_cols")
    has_backfill_id_column = _asked_once("has_backfill_id_column")
    has_bulk_action_job_name_column = _asked_once("has_bulk_action_job_name_column")
    has_backfill_tags_table = _asked_once("has_backfill_tags_table")

    def get_cursor_values(self, keys: set[str]) -> Mapping[str, str]:
        """Loading a code location asks for these, also where there is no database to ask."""
        return {} if self.postgres_url == NOWHERE else super().get_cursor_values(keys)


class PooledPostgresEventLogStorage(_Pooled, PostgresEventLogStorage):
    """dagster-postgres's event log on a pool. Its watcher polls through the same pool, a checkout a poll."""

    has_table = _asked_once("has_table")
    has_asset_key_col = _asked_once("has_asset_key_col")
    _has_asset_key_col_on_connection = _asked_once("_has_asset_key_col_on_connection")

    _newest_check: int | None = None

    @cached_property
    def _passed(self) -> PassedChecks:
        return PassedChecks(again_after_s=load_settings().passed_checks_every_s)

    def _failed_checks(self) -> Failed:
        """What checks have failed, in whatever run, since this was asked the last time; none where it never was."""
        with self._connect() as connection:
            newest = connection.execute(_NEWEST_CHECK).scalar()
            seen, self._newest_check = self._newest_check, newest
            failed = connection.execute(_FAILED_CHECKS, {"seen": seen}).all() if newest != seen else []
        keys = ((AssetKey.from_db_string(one.asset_key), one) for one in failed)
        return [(AssetCheckKey(key, one.check_name), one.partition) for key, one in keys if key]

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event that is to be kept."""
        if is_kept(event) and not self._passed.are_known(event, failed=self._failed_checks):
            super().store_event(event)
            self._passed.remember(event)
        if has_come_true(event):
            with self._connect() as connection:
                connection.execute(_FORGET_PLANS, {"run_id": event.run_id})

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        if kept := [event for event in events if is_kept(event)]:
            super().store_event_batch(kept)


class PooledPostgresScheduleStorage(_Pooled, PostgresScheduleStorage):
    """dagster-postgres's schedule storage on a pool."""

    has_secondary_index_table = _asked_once("has_secondary_index_table")
    _has_instigators_table = _asked_once("_has_instigators_table")
    _has_asset_daemon_asset_evaluations_table = _asked_once("_has_asset_daemon_asset_evaluations_table")
