"""A zone's table in a DuckDB file. One process at a time has such a file open, so runs wait for each other, and for nobody else long."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ingestion_assets.zones import kept
from ingestion_assets.zones.record_types import Kind
from ingestion_assets.zones.tables.fixed_numbers import DIGITS, SCALE, misfit
from ingestion_assets.zones.tables.postgres_copy import as_csv
from ingestion_assets.zones.tables.target import PLACE, Rows, Shape, Stored, TableRefusedError, check_shape

if TYPE_CHECKING:
    import duckdb

TYPES: dict[Kind, str] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "decimal": f"DECIMAL({DIGITS},{SCALE})",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",  # in UTC: zones need an extension that is loaded from elsewhere
    "date": "DATE",
    "uuid": "UUID",
    "json": "JSON",
}

_CONFIG: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
"""Nothing is fetched from elsewhere."""


def check(_name: str, shape: Shape) -> None:
    """Raises `TableRefusedError` for what can be said without the file."""
    check_shape(shape)
    try:
        import duckdb  # noqa: F401, PLC0415
    except ImportError:
        raise TableRefusedError(["a table in DuckDB needs the package duckdb: pip install duckdb"]) from None


class DuckTable:
    """`<file>/<schema>.<table>`, with typed columns, `_receipt` and `_position`."""

    def __init__(self, engine: sa.Engine, name: str, shape: Shape) -> None:
        file, _, table = name.rpartition("/")
        schema, dot, table = table.rpartition(".")
        self._engine = engine
        self._file = Path(file)
        self._schema, self._name = schema if dot else "main", table
        self._table = f"{_quoted(self._schema)}.{_quoted(table)}"
        self.shape = shape
        self._key = shape.key or PLACE

    def prepare(self) -> None:
        """Make the table, or have it follow the shape. Raises `TableRefusedError`."""
        wanted = {column.name: TYPES[column.kind] for column in self.shape.columns}
        wanted |= dict(zip(PLACE, ("UUID", "INTEGER"), strict=True))
        with self._open() as connection:
            rows = connection.execute(
                "SELECT column_name, data_type, column_name IN (SELECT unnest(constraint_column_names) FROM duckdb_constraints() "
                "WHERE constraint_type = 'PRIMARY KEY' AND schema_name = $1 AND table_name = $2) "
                "FROM duckdb_columns() WHERE schema_name = $1 AND table_name = $2",
                [self._schema, self._name],
            ).fetchall()
            if not rows:
                self._create(connection)
                return
            have = {name: kind for name, kind, _ in rows}
            key = {name for name, _, in_key in rows if in_key}
            said = [
                f"{name} is {have[name]} in {self._table} and cannot become {kind}: keep its type, or name the new field otherwise"
                for name, kind in wanted.items()
                if have.get(name, kind) != kind
            ]
            if key != set(self._key):
                said.append(
                    f"the key of {self._table} is ({', '.join(sorted(key))}): name another table for another key"
                )
            said += [
                f"the new field {one.name} is required, but {self._table} has rows without it: make it optional"
                for one in self.shape.columns
                if one.name not in have and not one.nullable
            ]
            if gone := have.keys() - wanted.keys():
                said.append(
                    f"{', '.join(sorted(gone))} of {self._table} are no fields any more: keep them as optional fields"
                )
            if said:
                raise TableRefusedError(said)
            for name in wanted.keys() - have.keys():
                connection.execute(f"ALTER TABLE {self._table} ADD COLUMN {_quoted(name)} {wanted[name]}")

    def _create(self, connection: duckdb.DuckDBPyConnection) -> None:
        columns = [f"{_quoted(one.name)} {TYPES[one.kind]}" for one in self.shape.columns]
        columns += ['"_receipt" UUID', '"_position" INTEGER', f"PRIMARY KEY ({_list(self._key)})"]
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(self._schema)}")
        connection.execute(f"CREATE TABLE {self._table} ({', '.join(columns)})")

    def store(self, parts: Iterable[Rows]) -> list[Stored]:
        """Store rows in one transaction; what became of each."""
        told: list[Stored] = []
        staged: list[tuple[Any, ...]] = []
        for part in parts:
            for values, receipt, position in zip(part.values, part.receipts, part.positions, strict=True):
                bad = misfit(self.shape.columns, values)
                if bad is None:
                    staged.append((len(told), *map(_in_utc, values), receipt, position))
                told.append(bad or Stored("stored"))
        if staged:
            with self._open() as connection, tempfile.NamedTemporaryFile(suffix=".csv") as file:
                file.write(as_csv(staged))
                file.flush()
                connection.execute("BEGIN")
                for number, status, by in self._upsert(connection, file.name):
                    told[number] = Stored(status, by=by)
                connection.execute("COMMIT")
        return told

    def _upsert(self, connection: duckdb.DuckDBPyConnection, file: str) -> list[tuple[int, Any, Any]]:
        """Write the rows in the file; what became of those that are not simply stored."""
        columns = _list([*(column.name for column in self.shape.columns), *PLACE])
        key, version = _list(self._key), self.shape.version
        newest = "" if version is None else f"{_quoted(version)} DESC, "
        better = "(new._receipt, new._position) < (old._receipt, old._position)"
        older = "false"
        if version is not None:
            new, old = f"new.{_quoted(version)}", f"old.{_quoted(version)}"
            better, older = f"({new} > {old} OR ({new} = {old} AND {better}))", f"{new} < {old}"
        connection.execute(f"CREATE TEMP TABLE stage AS SELECT 0 AS _n, {columns} FROM {self._table} LIMIT 0")
        connection.execute(
            "COPY stage FROM ? (FORMAT csv, HEADER false, QUOTE '\"', ESCAPE '\\', NULLSTR 'null', ALLOW_QUOTED_NULLS false, "
            "AUTO_DETECT false, DELIMITER ',')",
            [file],
        )
        connection.execute(
            f"CREATE TEMP TABLE best AS SELECT DISTINCT ON ({key}) * FROM stage ORDER BY {key}, {newest}_receipt, _position"
        )
        connection.execute(
            f"CREATE TEMP TABLE replaced AS SELECT new._n FROM best new JOIN {self._table} old USING ({key}) WHERE {better}"
        )
        changes = ", ".join(
            f"{_quoted(name)} = new.{_quoted(name)}"
            for name in (*(column.name for column in self.shape.columns), *PLACE)
            if name not in self._key
        )
        joined = " AND ".join(f"old.{_quoted(name)} = new.{_quoted(name)}" for name in self._key)
        if changes:
            connection.execute(
                f"UPDATE {self._table} old SET {changes} FROM best new WHERE {joined} AND {better}"
            )
        connection.execute(
            f"INSERT INTO {self._table} ({columns}) SELECT {columns} FROM best ON CONFLICT DO NOTHING"
        )
        updated = "SELECT _n, 'updated', NULL FROM replaced UNION ALL " if version is not None else ""
        return connection.execute(
            f"{updated} SELECT new._n, CASE WHEN {older} THEN 'superseded' ELSE 'duplicate' END, old._receipt "
            f"FROM stage new JOIN {self._table} old USING ({key}) WHERE (new._receipt, new._position) <> (old._receipt, old._position)"
        ).fetchall()

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        check(self._name, self.shape)
        import duckdb  # noqa: PLC0415

        with kept.one_at_a_time(self._engine, f"duckdb:{self._file.resolve()}", when=True):
            try:
                connection = duckdb.connect(str(self._file), config=_CONFIG)
            except duckdb.IOException as error:
                raise ConnectionError(
                    f"{self._file} cannot be opened now: another process may have it open"
                ) from error
            with connection:
                yield connection


def _in_utc(value: Any) -> Any:
    """A timestamp without its zone, which DuckDB would leave out without minding it."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))
