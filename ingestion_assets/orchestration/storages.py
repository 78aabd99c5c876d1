"""Dagster's three PostgreSQL storages with one small connection pool per process instead of a connection per call.

Named in `dagster.yaml`. Without a `postgres_url` there they use that of the settings.
"""

import os
import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from dagster import Field, IntSource, StringSource
from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from ingestion_assets.settings import load_settings
from ingestion_assets.stores.postgres import driver_url

POOL_SIZE = 2
POOL_RECYCLE_S = 900
CONNECT_TIMEOUT_S = 5

CONFIG = {
    "postgres_url": Field(StringSource, is_required=False, description="Default: the URL of the settings."),
    "should_autocreate_tables": Field(bool, is_required=False, default_value=True),
    "pool_size": Field(IntSource, is_required=False, default_value=POOL_SIZE),
    "max_overflow": Field(IntSource, is_required=False, default_value=10),
}


def fork_safe(engine: sa.Engine) -> sa.Engine:
    """`engine`, whose pool a forked child replaces by an empty one, without closing the parent's connections."""
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
    """The process's pooled engine for Dagster's storage, shared by its three storages; usable across a fork."""
    parsed = driver_url(url, "psycopg2")
    options = f"{parsed.query.get('options', '')} -c statement_timeout={statement_timeout_ms}".strip()
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
            },
        )
    )


def _arguments(inst_data: ConfigurableClassData | None, config: Mapping[str, Any]) -> dict[str, Any]:
    url = config.get("postgres_url") or load_settings().require("postgres_url")
    return {
        "postgres_url": driver_url(url, "psycopg2").render_as_string(hide_password=False),
        "should_autocreate_tables": config.get("should_autocreate_tables", True),
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


class PooledPostgresRunStorage(_Pooled, PostgresRunStorage):
    """dagster-postgres's run storage on a pool."""


class PooledPostgresEventLogStorage(_Pooled, PostgresEventLogStorage):
    """dagster-postgres's event log on a pool. Its watcher polls through the same pool, a checkout a poll."""


class PooledPostgresScheduleStorage(_Pooled, PostgresScheduleStorage):
    """dagster-postgres's schedule storage on a pool."""
