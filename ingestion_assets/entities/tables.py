"""The tables that entities live in: made and evolved from the definitions, never at the cost of data.

Data tables stand in the schema `entities`, one column a field, and two that say where a row comes from: `_drop`, the
receipt, and `_record`, the record within it. The flow's own bookkeeping has names that begin with `_`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ingestion_assets.entities.column_types import column_type
from ingestion_assets.entities.definition import Entity, EntityField, Reference
from ingestion_assets.entities.entity_set import EntitySet

SCHEMA = "entities"
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext('ingestion_assets.entities'))"
_WHOLE = ["smallint", "integer", "bigint"]

_BOOKKEEPING: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS entities;
    CREATE TABLE IF NOT EXISTS entities._applied (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        fingerprint text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS entities._loads (
        drop_id uuid PRIMARY KEY,
        outcome bytea NOT NULL
    );
    CREATE TABLE IF NOT EXISTS entities._waiting (
        stream text NOT NULL,
        drop_id uuid NOT NULL,
        record integer NOT NULL,
        line bigint NOT NULL,
        "offset" bigint NOT NULL,
        raw bytea NOT NULL,
        PRIMARY KEY (stream, drop_id, record)
    );
    CREATE TABLE IF NOT EXISTS entities._tally (
        entity text PRIMARY KEY,
        processed bigint NOT NULL,
        failed bigint NOT NULL
    );
    ALTER TABLE entities._tally ADD COLUMN IF NOT EXISTS superseded bigint NOT NULL DEFAULT 0;
"""


class IncompatibleTableError(Exception):
    """A definition that the table cannot follow without losing data; says what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it stands in the database."""

    type: str
    not_null: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A table as it stands in the database."""

    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    foreign_keys: frozenset[str]
    empty: bool


def ensure_tables(connection: "psycopg.Connection[Any]", entities: EntitySet) -> None:
    """Make the tables agree with the definitions, within the connection's transaction; quick when they do already.

    Raises `IncompatibleTableError`; nothing is changed then.
    """
    fingerprint = _fingerprint(entities)
    if _applied(connection) == fingerprint:
        return
    connection.execute(LOCK)
    connection.execute(_BOOKKEEPING)
    if _applied(connection) == fingerprint:
        return
    for statement in changes(connection, entities):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO entities._applied (fingerprint) VALUES (%s) "
        "ON CONFLICT (singleton) DO UPDATE SET fingerprint = excluded.fingerprint",
        (fingerprint,),
    )


def changes(connection: "psycopg.Connection[Any]", entities: EntitySet) -> list[sql.Composed]:
    """The statements that bring the tables to the definitions. Raises `IncompatibleTableError` with all that is in the way."""
    statements: list[sql.Composed] = []
    keys: list[sql.Composed] = []
    refusals: list[str] = []
    for entity in entities.entities:
        standing = inspect(connection, entity.table)
        if standing is None:
            statements.append(create_table(entity))
        else:
            statements += _evolve(entity, standing, refusals)
        wanted = {foreign_key_name(entity, reference): reference for reference in entity.references}
        have = standing.foreign_keys if standing else frozenset()
        for name in sorted(have - wanted.keys()):
            statements.append(_alter(entity, sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(name))))
        keys += [
            add_foreign_key(entities, entity, reference)
            for name, reference in wanted.items()
            if name not in have
        ]
    if refusals:
        raise IncompatibleTableError("\n".join(refusals))
    return statements + keys


def ddl(entities: EntitySet) -> str:
    """The statements that make all tables from nothing, for people to read."""
    made = [create_table(entity) for entity in entities.entities]
    made += [
        add_foreign_key(entities, entity, reference)
        for entity in entities.entities
        for reference in entity.references
    ]
    return "".join(f"{statement.as_string()};\n" for statement in made)


def create_table(entity: Entity) -> sql.Composed:
    """CREATE TABLE, without foreign keys."""
    columns = [_column(field) for field in entity.fields]
    columns += [sql.SQL('"_drop" uuid NOT NULL'), sql.SQL('"_record" integer NOT NULL')]
    columns.append(sql.SQL("PRIMARY KEY ({})").format(names(entity.primary_key)))
    return sql.SQL("CREATE TABLE {} (\n    {}\n)").format(table_of(entity), sql.SQL(",\n    ").join(columns))


def add_foreign_key(entities: EntitySet, entity: Entity, reference: Reference) -> sql.Composed:
    """ALTER TABLE … ADD FOREIGN KEY; checked at commit where entities reference each other in a circle."""
    late = " DEFERRABLE INITIALLY DEFERRED" if entities.in_circle(entity, reference) else ""
    return _alter(
        entity,
        sql.SQL("ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}" + late).format(  # pyright: ignore[reportArgumentType]
            sql.Identifier(foreign_key_name(entity, reference)),
            names(reference.fields),
            table_of(entities.by_name[reference.entity]),
        ),
    )


def foreign_key_name(entity: Entity, reference: Reference) -> str:
    """A name that changes when the reference does."""
    digest = sha256(repr((reference.fields, reference.entity)).encode()).hexdigest()[:8]
    return f"{entity.table[:40]}_{digest}_fkey"


def table_of(entity: Entity) -> sql.Identifier:
    return sql.Identifier(SCHEMA, entity.table)


def names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def inspect(connection: "psycopg.Connection[Any]", table: str) -> Standing | None:
    """The table as it stands, None if there is none."""
    rows = connection.execute(
        """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
        WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND attnum > 0 AND NOT attisdropped
        """,
        (SCHEMA, table),
    ).fetchall()
    if not rows:
        return None
    constraints = connection.execute(
        """
        SELECT conname, contype::text, ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place)
        FROM pg_constraint WHERE conrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
        """,
        (SCHEMA, table),
    ).fetchall()
    some = connection.execute(
        sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(SCHEMA, table))
    ).fetchone()
    return Standing(
        columns={name: Column(kind, not_null) for name, kind, not_null in rows},
        primary_key=next((tuple(columns) for _, kind, columns in constraints if kind == "p"), ()),
        foreign_keys=frozenset(name for name, kind, _ in constraints if kind == "f"),
        empty=some is None,
    )


def _evolve(entity: Entity, standing: Standing, refusals: list[str]) -> list[sql.Composed]:
    made: list[sql.Composed] = []
    table = f"{SCHEMA}.{entity.table}"
    for name in standing.columns.keys() - {*entity.names, "_drop", "_record"}:
        if not standing.empty:
            refusals.append(
                f"{entity.entity}: the column {name} is no longer defined and would be lost. Define it again "
                f"(nullable: true), or remove it yourself: ALTER TABLE {table} DROP COLUMN {name};"
            )
        else:
            made.append(_alter(entity, sql.SQL("DROP COLUMN {}").format(sql.Identifier(name))))
    if standing.primary_key != entity.primary_key:
        if not standing.empty:
            refusals.append(
                f"{entity.entity}: the primary key of {table} is ({', '.join(standing.primary_key)}), not "
                f"({', '.join(entity.primary_key)}), and it has rows. Define a new entity with a table of its own instead."
            )
        return made
    for field in entity.fields:
        column = standing.columns.get(field.name)
        if column is None:
            if not field.nullable and not standing.empty:
                refusals.append(
                    f"{entity.entity}: the new field {field.name} is required, but {table} has rows without it. "
                    "Make it nullable: true."
                )
            made.append(_alter(entity, sql.SQL("ADD COLUMN ") + _column(field)))
            continue
        made += _retype(entity, field, column, standing, refusals)
        if column.not_null and field.nullable:
            made.append(
                _alter(entity, sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(field.name)))
            )
        elif not column.not_null and not field.nullable:
            if not standing.empty:
                refusals.append(
                    f"{entity.entity}: {field.name} is nullable in {table}, which has rows. Keep nullable: true, or fill "
                    f"its NULLs and ALTER TABLE {table} ALTER COLUMN {field.name} SET NOT NULL yourself."
                )
            made.append(
                _alter(entity, sql.SQL("ALTER COLUMN {} SET NOT NULL").format(sql.Identifier(field.name)))
            )
    return made


def _retype(
    entity: Entity, field: EntityField, column: Column, standing: Standing, refusals: list[str]
) -> list[sql.Composed]:
    wanted = column_type(field)
    if column.type == wanted:
        return []
    if not standing.empty and not widens(column.type, wanted):
        refusals.append(
            f"{entity.entity}: {field.name} is {column.type} in {SCHEMA}.{entity.table} and cannot become {wanted} without "
            f"the risk of losing data. Keep {column.type}, or define a new field beside it."
        )
    return [
        _alter(
            entity,
            sql.SQL("ALTER COLUMN {name} TYPE {type} USING {name}::text::{type}").format(
                name=sql.Identifier(field.name),
                type=sql.SQL(wanted),  # pyright: ignore[reportArgumentType] - made from numbers and known words
            )
            if standing.empty
            else sql.SQL("ALTER COLUMN {} TYPE {}").format(
                sql.Identifier(field.name),
                sql.SQL(wanted),  # pyright: ignore[reportArgumentType]
            ),
        )
    ]


def widens(have: str, wanted: str) -> bool:
    """Whether every value of the one type is the same value of the other."""
    if have in _WHOLE and wanted in _WHOLE:
        return _WHOLE.index(have) <= _WHOLE.index(wanted)
    kind, _, numbers = have.partition("(")
    kind_wanted, _, numbers_wanted = wanted.partition("(")
    if kind == "character varying":
        return kind_wanted == "text" or (
            kind_wanted == kind and int(numbers_wanted[:-1]) >= int(numbers[:-1])
        )
    if kind == kind_wanted == "numeric":
        (precision, scale), (precision_wanted, scale_wanted) = (
            tuple(map(int, text[:-1].split(","))) for text in (numbers, numbers_wanted)
        )
        return scale_wanted >= scale and precision_wanted - scale_wanted >= precision - scale
    return False


def _column(field: EntityField) -> sql.Composed:
    kind = sql.SQL(column_type(field) + ("" if field.nullable else " NOT NULL"))  # pyright: ignore[reportArgumentType]
    return sql.SQL("{} {}").format(sql.Identifier(field.name), kind)


def _alter(entity: Entity, what: sql.Composed) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} ").format(table_of(entity)) + what


def _applied(connection: "psycopg.Connection[Any]") -> str | None:
    if connection.execute("SELECT to_regclass('entities._applied')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT fingerprint FROM entities._applied").fetchone()
    return row[0] if row else None


def _fingerprint(entities: EntitySet) -> str:
    shape = [
        (
            one.table,
            one.primary_key,
            [(reference.fields, reference.entity) for reference in one.references],
            [(field.name, column_type(field), field.nullable) for field in one.fields],
        )
        for one in entities.entities
    ]
    return sha256(repr((_BOOKKEEPING, shape)).encode()).hexdigest()
