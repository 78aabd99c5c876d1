"""An engine whose statements end by themselves: whoever gave up waiting leaves none of them running, and no thread waiting for it."""

from functools import lru_cache

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError


@lru_cache(maxsize=16)
def limited(engine: sa.Engine, *, seconds: float) -> sa.Engine:
    """The engine with the connections of `engine`, whose statements PostgreSQL cancels after so many seconds.

    What is cancelled raises `OperationalError`; see `is_cancelled`. It costs no round trip: the limit is sent with BEGIN.
    """
    own = engine.execution_options()
    statement = sql.SQL("SET LOCAL statement_timeout = {}").format(round(seconds * 1000))

    def set_limit(connection: sa.Connection) -> None:
        raw = connection.connection.driver_connection
        if not isinstance(raw, psycopg.Connection):
            raise TypeError(f"{type(raw).__name__} is no connection of psycopg")
        try:
            with raw.pipeline():
                raw.execute(statement)
        except psycopg.Error as error:
            raise OperationalError("SET LOCAL statement_timeout", None, error) from error

    event.listen(own, "begin", set_limit)
    return own


def is_cancelled(error: BaseException) -> bool:
    """Whether PostgreSQL ended the statement itself, because it took too long."""
    return isinstance(error, OperationalError) and isinstance(error.orig, psycopg.errors.QueryCanceled)


def is_of_connection(error: BaseException) -> bool:
    """Whether there was no connection to be had, or it broke: PostgreSQL is not there, or is stopping or starting."""
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))
