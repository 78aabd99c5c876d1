"""How to connect to PostgreSQL, bring its schema up to date and COPY rows into it."""

import contextlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ingestion_assets.settings import load_settings

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "ingestion_schema_version"
# A server that is gone without a word is noticed within half a minute; the system's own patience is two hours.
KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def driver_url(url: str, driver: str) -> sa.URL:
    """`url` with the driver named, e.g. `postgresql+psycopg`; dagster-postgres wants `postgresql+psycopg2`."""
    return sa.make_url(url).set(drivername=f"postgresql+{driver}")


# Whatever fails, the values of a statement are a client's content and stand in no error text.
_QUIET: dict[str, Any] = {"hide_parameters": True}


@lru_cache(maxsize=4)
def engine(url: str | None = None) -> sa.Engine:
    """The process's pooled engine. Without `url`, that of the settings."""
    target = driver_url(url or load_settings().require("postgres_url"), "psycopg")
    made = sa.create_engine(
        target, pool_size=4, max_overflow=8, pool_pre_ping=True, pool_recycle=1800, **_QUIET,
        connect_args={"connect_timeout": 5, "application_name": "ingestion", **KEEPALIVE},
    )  # fmt: skip
    event.listen(made, "connect", _in_utc)
    return made


def async_engine(url: str | None = None) -> AsyncEngine:
    """A new pooled engine for an event loop (the front door makes one at start and disposes of it at stop)."""
    target = driver_url(url or load_settings().require("postgres_url"), "psycopg")
    made = create_async_engine(
        target, pool_size=4, max_overflow=8, pool_pre_ping=True, pool_recycle=1800, pool_timeout=5, **_QUIET,
        connect_args={"connect_timeout": 3, "application_name": "ingestion-frontdoor", **KEEPALIVE},
    )  # fmt: skip
    event.listen(made.sync_engine, "connect", _in_utc)
    return made


def _in_utc(connection: Any, _record: Any) -> None:
    """Whatever zone the server has: times are shown as they are read."""
    if connection.info.parameter_status("TimeZone") != "UTC":
        connection.autocommit = True
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
        connection.autocommit = False


def copy_rows(
    connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """COPY `rows` into `table` (a plain name, in the search path or temporary), within the connection's transaction."""
    from psycopg import sql  # noqa: PLC0415

    raw = connection.connection.driver_connection
    if raw is None:
        raise RuntimeError("the connection is closed")
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with raw.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def migrate(url: str | None = None) -> None:
    """Bring the schema to the newest revision. Safe to call from several processes at once."""
    _upgrade(url, revisions=MIGRATIONS / "versions", version_table=VERSION_TABLE)


def migrate_flow(name: str, revisions: Path, *, url: str | None = None) -> None:
    """The same for the tables that a flow brings itself: the folder of its revisions, which it counts for itself."""
    _upgrade(url, revisions=revisions, version_table=f"{VERSION_TABLE}_{name}"[:63])


def _upgrade(url: str | None, *, revisions: Path, version_table: str) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(revisions).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")  # one folder, whatever its name has
    with engine(url).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ingestion_assets.migrate'))"))
        config.attributes.update(connection=connection, version_table=version_table)
        command.upgrade(config, "head")
