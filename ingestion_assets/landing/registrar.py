"""How the front door registers payloads: on a connection of its own, made anew once when it was lost, and not while the ledger is down."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ingestion_assets.landing.registration import Known, Landed, known_key, register
from ingestion_assets.landing.segments import Header
from ingestion_assets.stores.error_text import text_of

RETRY_S = 2.0

log = structlog.get_logger(__name__)


class Registrar:
    """`register` and `close` are for one thread, the rest for any.

    Rows are committed without waiting for PostgreSQL's disk: what a crash of it loses is registered late, from the segment.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._down_until = 0.0

    def is_down(self) -> bool:
        """Whether the ledger failed less than `RETRY_S` seconds ago."""
        return time.monotonic() < self._down_until

    def went_down(self, error: Exception | str) -> None:
        """The ledger failed."""
        self._down_until = time.monotonic() + RETRY_S
        log.warning("ledger_unavailable", error=error if isinstance(error, str) else text_of(error))

    def known(self, header: Header) -> Known | None:
        """The payload that used the same idempotency key before. Raises `SQLAlchemyError`."""
        with self._engine.connect() as connection:
            return known_key(connection, header)

    def register(self, landed: Sequence[Landed]) -> dict[UUID, Known] | None:
        """As `registration.register`; None while the ledger is down."""
        if self.is_down():
            return None
        try:
            return self._once_more_where_lost(landed)
        except (SQLAlchemyError, psycopg.Error) as error:
            self.close()
            self.went_down(error)
            return None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()

    def _once_more_where_lost(self, landed: Sequence[Landed]) -> dict[UUID, Known]:
        fresh = self._connection is None
        try:
            return _registered(self._connected(), landed)
        except (DBAPIError, psycopg.OperationalError) as error:
            self.close()
            if fresh or (isinstance(error, DBAPIError) and not error.connection_invalidated):
                raise
        return _registered(self._connected(), landed)

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()  # the setting below is not for others
            connection.execute(sa.text("SET synchronous_commit = off"))
            self._connection = connection
        return self._connection


def _registered(connection: sa.Connection, landed: Sequence[Landed]) -> dict[UUID, Known]:
    """In one statement, or in one transaction where a key that was used before may take more."""
    if not any(one.header.idempotency_key for one in landed):
        return register(connection, landed)
    driver: Any = connection.connection.dbapi_connection
    with driver.transaction():
        return register(connection, landed)
