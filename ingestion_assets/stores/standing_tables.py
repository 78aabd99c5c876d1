"""Tables as they stand in PostgreSQL: what following a definition starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql


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


def standing(connection: "psycopg.Connection[Any]", schema: str, table: str) -> Standing | None:
    """The table as it stands, None if there is none."""
    rows = connection.execute(
        """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
        WHERE attrelid = (SELECT oid FROM pg_class WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND relkind IN ('r', 'p'))
            AND attnum > 0 AND NOT attisdropped
        """,
        (schema, table),
    ).fetchall()
    if not rows:
        return None
    constraints = connection.execute(
        """
        SELECT conname, contype::text, ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place)
        FROM pg_constraint WHERE conrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
        """,
        (schema, table),
    ).fetchall()
    some = connection.execute(
        sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(schema, table))
    ).fetchone()
    return Standing(
        columns={name: Column(kind, not_null) for name, kind, not_null in rows},
        primary_key=next((tuple(columns) for _, kind, columns in constraints if kind == "p"), ()),
        foreign_keys=frozenset(name for name, kind, _ in constraints if kind == "f"),
        empty=some is None,
    )


def kind_of(connection: "psycopg.Connection[Any]", schema: str, name: str) -> str | None:
    """What has the name in the schema, if it is no table: "a view", "a sequence"…"""
    row = connection.execute(
        """
        SELECT CASE relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'S' THEN 'a sequence'
            WHEN 'f' THEN 'a foreign table' WHEN 'c' THEN 'a composite type' ELSE 'an index' END
        FROM pg_class WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND relkind NOT IN ('r', 'p')
        """,
        (schema, name),
    ).fetchone()
    return None if row is None else row[0]
