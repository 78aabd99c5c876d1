"""How tables follow their definitions: what loses nothing is a statement, anything else a refusal that says what to do."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

from ingestion_assets.entities.column_types import column_type
from ingestion_assets.entities.definition import Entity, EntityField, Reference
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import (
    SCHEMA,
    add_foreign_key,
    alter,
    column_definition,
    create_table,
    foreign_key_name,
    inspect,
    table_of,
)
from ingestion_assets.entities.stage_tables import each
from ingestion_assets.entities.values import cut
from ingestion_assets.stores.refusals import is_outage
from ingestion_assets.stores.standing_tables import Column, Standing, kind_of

_WHOLE = ["smallint", "integer", "bigint"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a table does not follow its definition. `entity` is empty where none of them is to blame.

    `costly`: to find out again means to read whole tables, or locks. `error`: what PostgreSQL refused.
    """

    entity: str
    text: str
    costly: bool = False
    error: psycopg.Error | None = None


class IncompatibleTableError(Exception):
    """Definitions that the tables cannot follow without losing data, or at all; says what to do."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("\n".join(f"{one.entity}: {one.text}".removeprefix(": ") for one in refusals))
        self.refusals = tuple(refusals)


@dataclass(frozen=True, slots=True)
class Changes:
    """The statements for one entity: its table, and then, once the tables of all stand, its references."""

    entity: Entity
    table: Sequence[sql.Composed]
    references: Sequence[sql.Composed]


def changes(
    connection: "psycopg.Connection[Any]", entities: EntitySet, *, leave: Collection[str] = ()
) -> tuple[list[Changes], list[Refusal]]:
    """What brings the tables to the definitions, and all that is in the way. The tables of some are to be left alone."""
    made: list[Changes] = []
    refusals: list[Refusal] = []
    stand: dict[str, Standing | None] = {}
    for entity in entities.entities:
        if entity.entity in leave:
            continue
        with told(refusals, entity, connection), connection.transaction():
            if (kind := kind_of(connection, SCHEMA, entity.table)) is None:
                stand[entity.entity] = inspect(connection, entity.table)
            else:
                said = f"{SCHEMA}.{entity.table} is {kind}, not a table. Rename the one or the other."
                _refuse(refusals, entity, said)
    for entity in (one for one in entities.entities if one.entity in stand):
        standing = stand[entity.entity]
        wanted = {foreign_key_name(entity, reference): reference for reference in entity.references}
        have = standing.foreign_keys if standing else frozenset()
        table = [create_table(entity)] if standing is None else _evolve(entity, standing, refusals)
        table += [
            alter(entity, sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(name)))
            for name in sorted(have - wanted.keys())
        ]
        added = [reference for name, reference in wanted.items() if name not in have]
        for reference in added:
            refused = {one.entity for one in refusals}
            if reference.entity in stand and not refused & {entity.entity, reference.entity}:
                with told(refusals, entity, connection), connection.transaction():
                    _check_rows(connection, entities, entity, reference, stand, refusals)
        made.append(Changes(entity, table, [add_foreign_key(entities, entity, one) for one in added]))
    return made, refusals


@contextmanager
def told(
    refusals: list[Refusal], entity: Entity | Literal[""], connection: "psycopg.Connection[Any]"
) -> Iterator[None]:
    """What PostgreSQL refuses here is noted, unless it is the connection that ended."""
    try:
        yield
    except psycopg.Error as error:
        if is_outage(error):
            raise
        refusals.append(_refused(error, entity, connection))


def _refused(
    error: psycopg.Error, entity: Entity | Literal[""], connection: "psycopg.Connection[Any]"
) -> Refusal:
    parts = [error.diag.message_primary, error.diag.message_detail, error.diag.message_hint]
    said = ". ".join(part.rstrip(".") for part in parts if part)
    if isinstance(error, psycopg.errors.LockNotAvailable) and entity:
        said += _holders(connection, entity)
    text = f"PostgreSQL refuses what the definition needs: {said} (SQLSTATE {error.sqlstate})"
    return Refusal(entity.entity if entity else "", text, costly=True, error=error)


def _holders(connection: "psycopg.Connection[Any]", entity: Entity) -> str:
    held = connection.execute(
        """
        SELECT DISTINCT pid FROM pg_locks WHERE granted AND pid <> pg_backend_pid()
        AND relation = to_regclass(format('%%I.%%I', %s::text, %s::text)) ORDER BY pid
        """,
        (SCHEMA, entity.table),
    ).fetchall()
    others = ", ".join(str(pid) for (pid,) in held)
    return f"; {SCHEMA}.{entity.table} is in use by the server process {others}" if others else ""


def _refuse(refusals: list[Refusal], entity: Entity, text: str) -> None:
    refusals.append(Refusal(entity.entity, text))


def _check_rows(
    connection: "psycopg.Connection[Any]",
    entities: EntitySet,
    entity: Entity,
    reference: Reference,
    stand: dict[str, Standing | None],
    refusals: list[Refusal],
) -> None:
    """A reference can be added when no row that is stored references nothing."""
    target = entities.by_name[reference.entity]
    mine, theirs = stand[entity.entity], stand[target.entity]
    pairs = list(zip(reference.fields, target.primary_key, strict=True))
    if mine is None or mine.empty or not mine.columns.keys() >= set(reference.fields):
        return
    there = sql.SQL("false")
    if theirs is not None and theirs.columns.keys() >= set(target.primary_key):
        there = sql.SQL("EXISTS (SELECT FROM {} other WHERE {})").format(
            table_of(target), each(pairs, lambda mine, key: sql.SQL("other.{} = row.{}").format(key, mine))
        )
    shown = [name for name in entity.primary_key if name in mine.columns] + list(reference.fields)
    rows = connection.execute(
        sql.SQL("SELECT count(*) OVER (), {} FROM {} row WHERE {} AND NOT {} LIMIT 1").format(
            sql.SQL(", ").join(sql.SQL("row.{}::text").format(sql.Identifier(name)) for name in shown),
            table_of(entity),
            each(pairs, lambda mine, _: sql.SQL("row.{} IS NOT NULL").format(mine)),
            there,
        )
    ).fetchall()
    for number, *values in rows:
        said = [f"{name}={cut(value)}" for name, value in zip(shown, values, strict=True)]
        row, wants = (", ".join(part) for part in (said[: -len(pairs)], said[-len(pairs) :]))
        rows_reference = "1 row" if number == 1 else f"{number} rows"
        text = (
            f"{rows_reference} of {SCHEMA}.{entity.table} would reference a row of {SCHEMA}.{target.table} that is not there, "
            f"such as the row {row} with {wants}. Store what is missing, correct or delete such rows, or leave the reference out."
        )
        refusals.append(Refusal(entity.entity, text, costly=True))


def _evolve(entity: Entity, standing: Standing, refusals: list[Refusal]) -> list[sql.Composed]:
    made: list[sql.Composed] = []
    table = f"{SCHEMA}.{entity.table}"
    for name in standing.columns.keys() - {*entity.names, "_drop", "_record"}:
        if not standing.empty:
            _refuse(
                refusals,
                entity,
                f"the column {name} is no longer defined and would be lost. Define it again "
                f"(nullable: true), or remove it yourself: ALTER TABLE {table} DROP COLUMN {name};",
            )
        else:
            made.append(alter(entity, sql.SQL("DROP COLUMN {}").format(sql.Identifier(name))))
    if standing.primary_key != entity.primary_key:
        if not standing.empty:
            _refuse(
                refusals,
                entity,
                f"the primary key of {table} is ({', '.join(standing.primary_key)}), not "
                f"({', '.join(entity.primary_key)}), and it has rows. Define a new entity with a table of its own instead.",
            )
        return made
    for field in entity.fields:
        column = standing.columns.get(field.name)
        if column is None:
            if not field.nullable and not standing.empty:
                _refuse(
                    refusals,
                    entity,
                    f"the new field {field.name} is required, but {table} has rows without it. "
                    "Make it nullable: true.",
                )
            made.append(alter(entity, sql.SQL("ADD COLUMN ") + column_definition(field)))
            continue
        made += _retype(entity, field, column, standing, refusals)
        if column.not_null and field.nullable:
            made.append(
                alter(entity, sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(field.name)))
            )
        elif not column.not_null and not field.nullable:
            if not standing.empty:
                _refuse(
                    refusals,
                    entity,
                    f"{field.name} is nullable in {table}, which has rows. Keep nullable: true, or fill "
                    f"its NULLs and ALTER TABLE {table} ALTER COLUMN {field.name} SET NOT NULL yourself.",
                )
            made.append(
                alter(entity, sql.SQL("ALTER COLUMN {} SET NOT NULL").format(sql.Identifier(field.name)))
            )
    return made


def _retype(
    entity: Entity, field: EntityField, column: Column, standing: Standing, refusals: list[Refusal]
) -> list[sql.Composed]:
    wanted = column_type(field)
    if column.type == wanted:
        return []
    if not standing.empty and not widens(column.type, wanted):
        _refuse(
            refusals,
            entity,
            f"{field.name} is {column.type} in {SCHEMA}.{entity.table} and cannot become {wanted} without "
            f"the risk of losing data. Keep {column.type}, or define a new field beside it.",
        )
    return [
        alter(
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
