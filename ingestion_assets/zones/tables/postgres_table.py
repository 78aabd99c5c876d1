"""A zone's table in PostgreSQL: rows go straight into it while all of their keys are new, else by way of a staging table."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from operator import add
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from ingestion_assets.stores.refusals import is_refusal, refusal_of
from ingestion_assets.zones.tables.postgres_copy import OPTIONS, as_csv, unstorable
from ingestion_assets.zones.tables.postgres_shape import check_lengths, follow, key_of, parts_of
from ingestion_assets.zones.tables.target import (
    PLACE,
    STORED,
    Rows,
    Shape,
    Stored,
    TableRefusedError,
    check_shape,
)

_CODES = {"54000": "too_long", "22003": "out_of_range", "22008": "out_of_range"}
DEADLOCKS = 3
_STAGE = sql.Identifier("_zone_stage")

Placed = tuple[int, tuple[Any, ...]]
"""A row with its number among all that are to be stored."""


def check(name: str, shape: Shape) -> None:
    """Raises `TableRefusedError` for what can be said without the database."""
    check_shape(shape)
    check_lengths(name, shape)


class PostgresTable:
    """`schema.table`, with typed columns, `_receipt` and `_position`, and the key as its primary key."""

    def __init__(self, engine: sa.Engine, name: str, shape: Shape) -> None:
        self._engine = engine
        self._schema, self._name = parts_of(name)
        self.shape = shape
        self._statements = _Statements(sql.Identifier(self._schema, self._name), shape)
        self._all_new = True
        """Whether the last rows had new keys alone, so that the next may, too."""

    def prepare(self) -> None:
        """Make the table, or have it follow the shape. Raises `TableRefusedError`."""
        check(f"{self._schema}.{self._name}", self.shape)
        try:
            with self._engine.begin() as connection:
                follow(_raw(connection), self._schema, self._name, self.shape)
        except psycopg.errors.InsufficientPrivilege as error:
            raise TableRefusedError([f"{self._schema}.{self._name}: {error.diag.message_primary}"]) from None

    def store(self, parts: Iterable[Rows]) -> list[Stored]:
        """Store rows in one transaction; what became of each."""
        rows = _Incoming(parts, self.shape)
        with self._engine.begin() as connection:
            raw = _raw(connection)
            raw.execute("SET LOCAL timezone TO 'UTC'")  # for timestamps without a zone
            told: dict[int, Stored] = {}
            if not (self._all_new and self._copied(raw, rows)):
                raw.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", (f"{self._schema}.{self._name}",)
                )
                raw.execute(self._statements.stage)
                self._write(raw, rows.all(), told)
        self._all_new = not any(one.status != "rejected" for one in told.values())
        told |= rows.unstorable
        return [told.get(number, STORED) for number in range(rows.count)]

    def _copied(self, raw: "psycopg.Connection[Any]", rows: "_Incoming") -> bool:
        """Copy the rows into the table as they come; whether that could be. Twice as fast as INSERT … ON CONFLICT."""
        try:
            with raw.transaction(), raw.cursor() as cursor, cursor.copy(self._statements.copy) as target:
                for part in rows:
                    target.write(as_csv(part))
        except psycopg.errors.DeadlockDetected:  # with another run that stores the same keys
            return False
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            return False
        return True

    def _write(self, raw: "psycopg.Connection[Any]", rows: Sequence[Placed], told: dict[int, Stored]) -> None:
        """Write rows, by halves where some are refused, so that the others are stored; what became of those not simply stored."""
        if not rows:
            return
        try:
            upserted = self._upserted(raw, rows)
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            if len(rows) == 1:
                told[rows[0][0]] = _refused(error)
                return
            half = len(rows) // 2
            self._write(raw, rows[:half], told)
            self._write(raw, rows[half:], told)
            return
        told |= upserted

    def _upserted(self, raw: "psycopg.Connection[Any]", rows: Sequence[Placed]) -> dict[int, Stored]:
        """`_upsert`, whole or not at all; again where PostgreSQL gave it up for a run that copies the same keys, which goes on then."""
        for _ in range(DEADLOCKS):
            with suppress(psycopg.errors.DeadlockDetected), raw.transaction():
                return self._upsert(raw, rows)
        with raw.transaction():
            return self._upsert(raw, rows)

    def _upsert(self, raw: "psycopg.Connection[Any]", rows: Sequence[Placed]) -> dict[int, Stored]:
        raw.execute(sql.SQL("TRUNCATE {}").format(_STAGE))
        with raw.cursor() as cursor, cursor.copy(self._statements.copy_to_stage) as target:
            target.write(as_csv([(number, *row) for number, row in rows]))
        told = {number: Stored("updated") for (number,) in raw.execute(self._statements.upsert)}
        for number, by, older in raw.execute(self._statements.others):
            told[number] = Stored("superseded" if older else "duplicate", by=by)
        return told


class _Incoming:
    """Rows as they come, part by part, without those that no column can hold; and all of them, for a second way."""

    def __init__(self, parts: Iterable[Rows], shape: Shape) -> None:
        self._parts = iter(parts)
        self._shape = shape
        self._seen: list[tuple[Sequence[int], list[tuple[Any, ...]]]] = []
        self.count = 0
        self.unstorable: dict[int, Stored] = {}

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        for part in self._parts:
            numbers: Sequence[int] = range(self.count, self.count + len(part.values))
            self.count += len(part.values)
            rows = list(map(add, part.values, zip(part.receipts, part.positions, strict=True)))
            if bad := unstorable(self._shape.columns, part.values):
                self.unstorable |= {numbers[index]: said for index, said in bad.items()}
                numbers = [number for index, number in enumerate(numbers) if index not in bad]
                rows = [row for index, row in enumerate(rows) if index not in bad]
            if rows:
                self._seen.append((numbers, rows))
                yield rows

    def all(self) -> list[Placed]:
        for _ in self:
            pass
        return [placed for numbers, rows in self._seen for placed in zip(numbers, rows, strict=True)]


class _Statements:
    """The SQL for a table."""

    def __init__(self, table: sql.Identifier, shape: Shape) -> None:
        columns = _names([*(column.name for column in shape.columns), *PLACE])
        key = _names(key_of(shape))
        self.copy = sql.SQL("COPY {} ({}) FROM STDIN {}").format(table, columns, OPTIONS)
        self.stage = sql.SQL(
            'CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT 0 AS "_n", {} FROM {} WITH NO DATA'
        ).format(_STAGE, columns, table)
        self.copy_to_stage = sql.SQL('COPY {} ("_n", {}) FROM STDIN {}').format(_STAGE, columns, OPTIONS)
        order, wins, older = _order(shape)
        # With a version, the numbers of rows that replaced an older one. Whatever came first is written once: of one key, one row.
        self.upsert = sql.SQL("""
            WITH written AS (
                INSERT INTO {table} AS stored ({columns})
                SELECT DISTINCT ON ({key}) {columns} FROM {stage} new ORDER BY {key}, {order}
                ON CONFLICT ({key}) DO UPDATE SET {set} WHERE {wins}
                RETURNING "_receipt", "_position", xmax <> 0 AS updated
            )
            SELECT new."_n" FROM written JOIN {stage} new USING ("_receipt", "_position") WHERE updated AND {has_version}
        """).format(
            table=table,
            columns=columns,
            key=key,
            stage=_STAGE,
            order=order,
            wins=wins,
            set=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
                for name in (*(column.name for column in shape.columns), *PLACE)
            ),
            has_version=sql.Literal(shape.version is not None),
        )
        self.others = sql.SQL("""
            SELECT new."_n", stored."_receipt", {older} FROM {stage} new JOIN {table} stored USING ({key})
            WHERE (new."_receipt", new."_position") <> (stored."_receipt", stored."_position")
        """).format(older=older, stage=_STAGE, table=table, key=key)


def _order(shape: Shape) -> tuple[sql.Composable, sql.Composable, sql.Composable]:
    """Which of the new rows of a key comes first, whether it replaces what is stored, and whether what is left out is older."""
    place = sql.SQL('"_receipt", "_position"')
    first = sql.SQL('(stored."_receipt", stored."_position") > (excluded."_receipt", excluded."_position")')
    if shape.version is None:
        return place, first, sql.SQL("false")
    is_text = any(column.name == shape.version and column.kind == "text" for column in shape.columns)
    collation = sql.SQL(' COLLATE "C"' if is_text else "")
    new, given, stored = (
        sql.Identifier(of, shape.version) + collation for of in ("new", "excluded", "stored")
    )
    return (
        sql.SQL("{} DESC, {}").format(new, place),
        sql.SQL("{given} > {stored} OR ({given} = {stored} AND {first})").format(
            given=given, stored=stored, first=first
        ),
        sql.SQL("{} < {}").format(new, stored),
    )


def _refused(error: psycopg.Error) -> Stored:
    said = f"PostgreSQL refuses the row: {refusal_of(error)}"
    if error.diag.column_name:
        said += f", column {error.diag.column_name}"
    return Stored("rejected", code=_CODES.get(error.sqlstate or "", "refused_by_database"), reason=said)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _raw(connection: sa.Connection) -> "psycopg.Connection[Any]":
    raw = connection.connection.driver_connection
    if raw is None:
        raise RuntimeError("the connection is closed")
    return raw
