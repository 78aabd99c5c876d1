"""How a zone's table in PostgreSQL follows its records: what loses nothing is a statement, anything else a refusal that says what to do."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from ingestion_assets.stores.standing_tables import Standing, kind_of, standing
from ingestion_assets.zones.record_types import Column, Kind
from ingestion_assets.zones.tables.target import PLACE, Shape, TableRefusedError

TYPES: dict[Kind, str] = {
    "text": "text",
    "integer": "bigint",
    "number": "double precision",
    "decimal": "numeric",
    "boolean": "boolean",
    "timestamp": "timestamp with time zone",
    "date": "date",
    "uuid": "uuid",
    "json": "jsonb",
}
LOCK_TIMEOUT = "5s"
"""How long a table is waited for that somebody else works with; meanwhile nobody else gets at it."""
_LONGEST_NAME = 63
_PLACE_TYPES = dict(zip(PLACE, ("uuid", "integer"), strict=True))


def parts_of(name: str) -> tuple[str, str]:
    """Schema and table."""
    schema, dot, table = name.rpartition(".")
    return schema if dot else "public", table


def check_lengths(name: str, shape: Shape) -> None:
    """Raises `TableRefusedError` for names that PostgreSQL would cut off."""
    long = [one.name for one in shape.columns if len(one.name.encode()) > _LONGEST_NAME]
    if long or max(len(part.encode()) for part in parts_of(name)) > _LONGEST_NAME:
        raise TableRefusedError(
            [f"{', '.join(long) or name}: names in PostgreSQL have at most {_LONGEST_NAME} bytes"]
        )


def follow(connection: "psycopg.Connection[Any]", schema: str, name: str, shape: Shape) -> None:
    """Make the table, or have it follow, within the connection's transaction. Raises `TableRefusedError`; then it must be rolled back."""
    table = f"{schema}.{name}"
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (table,))
    known = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    if (kind := kind_of(connection, schema, name)) is not None:
        raise TableRefusedError([f"{table} is {kind}, not a table: name another table"])
    stands = standing(connection, schema, name)
    if stands is None:
        connection.execute(create(schema, name, shape))
        return
    if any(
        name not in stands.columns or stands.columns[name].type != kind for name, kind in _PLACE_TYPES.items()
    ):
        raise TableRefusedError(
            [
                f"{table} is there and was not made for a zone, as it has no _receipt and _position: name another table"
            ]
        )
    refused = list(_refusals(table, stands, shape))
    if refused:
        raise TableRefusedError(refused)
    for statement in _changes(schema, name, stands, shape):
        connection.execute(statement)


def create(schema: str, name: str, shape: Shape) -> sql.Composed:
    """CREATE TABLE."""
    columns = [_definition(column) for column in shape.columns]
    columns += [sql.SQL('"_receipt" uuid NOT NULL'), sql.SQL('"_position" integer NOT NULL')]
    columns.append(sql.SQL("PRIMARY KEY ({})").format(_names(key_of(shape))))
    return sql.SQL("CREATE TABLE {} (\n    {}\n)").format(
        sql.Identifier(schema, name), sql.SQL(",\n    ").join(columns)
    )


def key_of(shape: Shape) -> tuple[str, ...]:
    """What no two rows have in common: the key, else the place."""
    return shape.key or PLACE


def _refusals(table: str, stands: Standing, shape: Shape) -> Iterator[str]:
    """What is in the way. A table without rows has nothing to lose."""
    if stands.empty:
        return
    wanted = {column.name: column for column in shape.columns}
    if stands.primary_key != key_of(shape):
        yield (
            f"the key of {table} is ({', '.join(stands.primary_key)}), not ({', '.join(key_of(shape))}), and it has rows: "
            "name another table"
        )
    for name in stands.columns.keys() - wanted.keys() - set(PLACE):
        yield (
            f"the column {name} of {table} is no field of the records any more: keep it as an optional field, or remove it yourself: "
            f'ALTER TABLE {table} DROP COLUMN "{name}"'
        )
    for name, column in wanted.items():
        have, kind = stands.columns.get(name), TYPES[column.kind]
        if have is None:
            if not column.nullable:
                yield f"the new field {name} is required, but {table} has rows without it: make it optional"
        elif have.type != kind and not _widens(have.type, kind):
            yield (
                f"{name} is {have.type} in {table} and cannot become {kind} without the risk of losing data: keep its type, or "
                "name the new field otherwise"
            )
        elif not have.not_null and not column.nullable:
            yield (
                f"{name} may be NULL in {table}, which has rows: keep the field optional, or fill it yourself and "
                f'ALTER TABLE {table} ALTER COLUMN "{name}" SET NOT NULL'
            )


def _widens(have: str, wanted: str) -> bool:
    """Whether every value of the one type is the same value of the other."""
    return (have, wanted) == ("bigint", "numeric")


def _changes(schema: str, name: str, stands: Standing, shape: Shape) -> Iterator[sql.Composed]:
    table = sql.Identifier(schema, name)
    wanted = {column.name: column for column in shape.columns}
    have = {one: column.type for one, column in stands.columns.items() if one not in PLACE}
    if stands.empty and (
        stands.primary_key != key_of(shape)
        or have != {one: TYPES[column.kind] for one, column in wanted.items()}
    ):
        yield sql.SQL("DROP TABLE {}").format(table)
        yield create(schema, name, shape)
        return
    for one, column in wanted.items():
        stood = stands.columns.get(one)
        said: list[sql.Composed] = []
        if stood is None:
            said.append(sql.SQL("ADD COLUMN ") + _definition(column))
        else:
            if stood.type != TYPES[column.kind]:
                said.append(_alter(one, f"TYPE {TYPES[column.kind]}"))
            if stood.not_null and column.nullable:
                said.append(_alter(one, "DROP NOT NULL"))
            elif not stood.not_null and not column.nullable:
                said.append(_alter(one, "SET NOT NULL"))
        for each in said:
            yield sql.SQL("ALTER TABLE {} ").format(table) + each


def _alter(column: str, what: str) -> sql.Composed:
    return sql.SQL("ALTER COLUMN {} ").format(sql.Identifier(column)) + sql.SQL(what)  # pyright: ignore[reportArgumentType]


def _definition(column: Column) -> sql.Composed:
    kind = TYPES[column.kind] + ("" if column.nullable else " NOT NULL")
    return sql.SQL("{} ").format(sql.Identifier(column.name)) + sql.SQL(kind)  # pyright: ignore[reportArgumentType]


def _names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
