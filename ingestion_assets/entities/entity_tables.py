"""The tables that entities live in: their statements and names, and how they stand in the database.

Data tables stand in the schema `entities`, one column a field, and two that say where a row comes from: `_drop`, the
receipt, and `_record`, the record within it. The flow's own bookkeeping has names that begin with `_`.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ingestion_assets.entities.column_types import column_type
from ingestion_assets.entities.definition import Entity, EntityField, Reference
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.stores.standing_tables import Standing, standing

SCHEMA = "entities"
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext('ingestion_assets.entities'))"


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
    columns = [column_definition(field) for field in entity.fields]
    columns += [sql.SQL('"_drop" uuid NOT NULL'), sql.SQL('"_record" integer NOT NULL')]
    columns.append(sql.SQL("PRIMARY KEY ({})").format(names(entity.primary_key)))
    return sql.SQL("CREATE TABLE {} (\n    {}\n)").format(table_of(entity), sql.SQL(",\n    ").join(columns))


def add_foreign_key(entities: EntitySet, entity: Entity, reference: Reference) -> sql.Composed:
    """ALTER TABLE … ADD FOREIGN KEY; checked at commit where entities reference each other in a circle."""
    late = " DEFERRABLE INITIALLY DEFERRED" if entities.in_circle(entity, reference) else ""
    return alter(
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
    return standing(connection, SCHEMA, table)


def column_definition(field: EntityField) -> sql.Composed:
    kind = sql.SQL(column_type(field) + ("" if field.nullable else " NOT NULL"))  # pyright: ignore[reportArgumentType]
    return sql.SQL("{} {}").format(sql.Identifier(field.name), kind)


def alter(entity: Entity, what: sql.Composed) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} ").format(table_of(entity)) + what
