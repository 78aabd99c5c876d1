"""Reading a stack's PostgreSQL past the system under test."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingestion_assets_tests.stacks import RunningStack


def rows(stack: RunningStack, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a query. Raises `psycopg.OperationalError` while the server is down."""
    url = stack.environment["INGESTION_POSTGRES_URL"]
    with (
        psycopg.connect(url, autocommit=True, connect_timeout=5) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return cursor.execute(query.encode(), parameters).fetchall()
