"""A look at all rows of an entity: keys that are there twice, references into nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import foreign_key_name, inspect, names, table_of


@dataclass(frozen=True, slots=True)
class Audit:
    """Rows, distinct primary keys among them, and by foreign key the rows that reference nothing."""

    rows: int = 0
    keys: int = 0
    orphans: Mapping[str, int] = field(default_factory=dict)


def audit(connection: "psycopg.Connection[Any]", entity: Entity, entities: EntitySet) -> Audit:
    """Count; an entity without a table has no rows."""
    if inspect(connection, entity.table) is None:
        return Audit()
    counted = sql.SQL("SELECT count(*), count(DISTINCT ({key})) FROM {table}").format(
        key=names(entity.primary_key), table=table_of(entity)
    )
    rows, keys = _one(connection, counted)
    return Audit(
        rows,
        keys,
        {
            foreign_key_name(entity, reference): _one(connection, _orphans(entity, entities, index))[0]
            for index, reference in enumerate(entity.references)
        },
    )


def _one(connection: "psycopg.Connection[Any]", query: sql.Composed) -> tuple[int, ...]:
    return connection.execute(query).fetchall()[0]


def _orphans(entity: Entity, entities: EntitySet, index: int) -> sql.Composed:
    reference = entity.references[index]
    target = entities.by_name[reference.entity]
    pairs = list(zip(reference.fields, target.primary_key, strict=True))
    given = sql.SQL(" AND ").join(
        sql.SQL("row.{} IS NOT NULL").format(sql.Identifier(mine)) for mine, _ in pairs
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("other.{} = row.{}").format(sql.Identifier(key), sql.Identifier(mine)) for mine, key in pairs
    )
    return sql.SQL(
        "SELECT count(*) FROM {table} row WHERE {given} AND NOT EXISTS (SELECT FROM {target} other WHERE {same})"
    ).format(table=table_of(entity), given=given, target=table_of(target), same=same)
