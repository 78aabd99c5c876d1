"""Staged rows into their table: the last one by order of acceptance wins, and what is older than what is stored says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_tables import names, table_of
from ingestion_assets.entities.stage_tables import each, stage_of

_PLACES = sql.SQL(
    'places AS MATERIALIZED (SELECT * FROM unnest(%s::integer[], %s::uuid[]) AS place ("_place", "_id"))'
)


@dataclass(slots=True)
class Written:
    """What became of the staged rows of one payload and entity. `newer`: the superseded records, by what superseded them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    newer: dict[UUID, list[int]] = field(default_factory=dict)

    def supersede(self, record: int, by: UUID) -> None:
        """One of the rows that seemed unchanged is older than what is stored."""
        self.newer.setdefault(by, []).append(record)
        self.superseded += 1
        self.unchanged -= 1

    def add(self, more: "Written") -> None:
        """Count more; whose records those are is left out."""
        self.inserted += more.inserted
        self.updated += more.updated
        self.unchanged += more.unchanged
        self.superseded += more.superseded


def upsert(
    connection: "psycopg.Connection[Any]",
    entity: Entity,
    drops: Mapping[int, UUID],
    *,
    staged: Mapping[int, int],
    repeats: bool,
) -> dict[tuple[int, str], Written]:
    """Write what is staged of an entity; what became of it by place. `staged` are the numbers of rows by place.

    A row is written only where it differs and is newer than what is there; one that is equal and newer takes over the
    place in the order, so that nothing older comes after it. Of several rows with one key the last wins (`repeats`: there
    may be such), and the others count as if it had come later: updated, unless they are older than what is stored.
    """
    given = list(drops), list(drops.values())
    places = {drop: at for at, drop in drops.items()}
    result = {at: Written(unchanged=number) for at, number in staged.items()}
    for at, record, by in connection.execute(take_out_earlier(entity), given).fetchall() if repeats else ():
        if by is None:
            result[at].updated += 1
            result[at].unchanged -= 1
        else:
            result[at].supersede(record, by)
    for drop, inserted, updated in connection.execute(write(entity), given).fetchall():
        written = result[places[drop]]
        written.inserted += inserted
        written.updated += updated
        written.unchanged -= inserted + updated
    left = sum(one.unchanged for one in result.values())
    if left and connection.execute(_confirm(entity), given).rowcount < left:  # else all are equal, and newer
        for at, record, by in connection.execute(_superseded(entity), given).fetchall():
            result[at].supersede(record, by)
    return {(at, entity.entity): written for at, written in result.items()}


def take_out_earlier(entity: Entity) -> sql.Composed:
    """Take out the rows that a later one with their key replaces; with the receipt of what is stored where that is newer."""
    return sql.SQL("""
        WITH {places}, taken AS (
            DELETE FROM {stage} row USING (
                SELECT {key}, max(ARRAY["_at", "_record"]) AS "_last" FROM {stage} GROUP BY {key} HAVING count(*) > 1
            ) later
            WHERE {row_is_later} AND ARRAY[row."_at", row."_record"] < later."_last"
            RETURNING row."_at", row."_record", {row_key}
        )
        SELECT "_at", taken."_record", stored."_drop" FROM taken JOIN places ON "_place" = "_at"
        LEFT JOIN {table} stored ON {stored_is_taken} AND stored."_drop" > "_id"
    """).format(
        places=_PLACES,
        stage=stage_of(entity),
        table=table_of(entity),
        key=names(entity.primary_key),
        row_key=sql.SQL(", ").join(sql.Identifier("row", name) for name in entity.primary_key),
        row_is_later=_same(entity, "row.{0} = later.{0}"),
        stored_is_taken=_same(entity, "stored.{0} = taken.{0}"),
    )


def write(entity: Entity, *, only: sql.Composable = sql.SQL("true")) -> sql.Composed:  # noqa: B008 - it never changes
    """INSERT … ON CONFLICT of the staged rows, or of some of them; by payload how many were inserted and updated."""
    others = [name for name in entity.names if name not in entity.primary_key]
    update = sql.SQL("NOTHING")
    if others:
        update = sql.SQL("""UPDATE SET {set}, "_drop" = excluded."_drop", "_record" = excluded."_record"
            WHERE ROW({stored}) IS DISTINCT FROM ROW({given})
              AND (stored."_drop", stored."_record") < (excluded."_drop", excluded."_record")""").format(
            set=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others
            ),
            stored=sql.SQL(", ").join(sql.SQL("stored.{}").format(sql.Identifier(name)) for name in others),
            given=sql.SQL(", ").join(sql.SQL("excluded.{}").format(sql.Identifier(name)) for name in others),
        )
    return sql.SQL("""
        WITH {places}, written AS (
            INSERT INTO {table} AS stored ({columns}, "_drop", "_record")
            SELECT {columns}, places."_id", "_record" FROM {stage} row JOIN places ON places."_place" = row."_at" WHERE {only}
            ON CONFLICT ({key}) DO {update}
            RETURNING "_drop", xmax = 0 AS inserted
        )
        SELECT "_drop", count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written GROUP BY "_drop"
    """).format(
        places=_PLACES,
        table=table_of(entity),
        columns=names(entity.names),
        stage=stage_of(entity),
        only=only,
        key=names(entity.primary_key),
        update=update,
    )


def _superseded(entity: Entity) -> sql.Composed:
    """The staged rows that are older than what is stored, and the receipt that brought that."""
    return sql.SQL("""
        WITH {places}
        SELECT row."_at", row."_record", stored."_drop" FROM {stage} row JOIN places ON places."_place" = row."_at"
        JOIN {table} stored ON {same} AND stored."_drop" > places."_id"
    """).format(
        places=_PLACES,
        stage=stage_of(entity),
        table=table_of(entity),
        same=_same(entity, "stored.{0} = row.{0}"),
    )


def _confirm(entity: Entity) -> sql.Composed:
    """After `write` whatever is older than its staged row is equal to it: it takes over the row's place in the order."""
    return sql.SQL("""
        WITH {places}
        UPDATE {table} stored SET "_drop" = places."_id", "_record" = row."_record"
        FROM {stage} row JOIN places ON places."_place" = row."_at"
        WHERE {same} AND (stored."_drop", stored."_record") < (places."_id", row."_record")
    """).format(
        places=_PLACES,
        table=table_of(entity),
        stage=stage_of(entity),
        same=_same(entity, "stored.{0} = row.{0}"),
    )


def _same(entity: Entity, condition: str) -> sql.Composed:
    return each(
        [(name, name) for name in entity.primary_key],
        lambda key, _: sql.SQL(condition).format(key),  # pyright: ignore[reportArgumentType] - words of this module
    )
