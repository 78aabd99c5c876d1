"""A zone's table in PostgreSQL."""

import sqlalchemy as sa

from ingestion_assets.zones.tables.target import Rows, Shape, Stored


class PostgresTable:
    """`schema.table`, with typed columns, `_receipt` and `_position`, and the key as a unique index."""

    def __init__(self, engine: sa.Engine, name: str, shape: Shape) -> None:
        self.engine = engine
        self.name = name
        self.shape = shape

    def prepare(self) -> None:
        raise NotImplementedError

    def store(self, rows: Rows) -> list[Stored]:
        raise NotImplementedError
