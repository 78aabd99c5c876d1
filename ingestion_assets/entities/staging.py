"""Rows on their way into the tables: staged by COPY, freed of what cannot be stored, then upserted.

Each staged row knows its payload's place in the order of acceptance (`_at`), its record there, and up to which place it
may see others (`_sees`): a row may reference what its own payload brings, in any order, and what was accepted before.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import names, table_of
from ingestion_assets.entities.orphans import Orphans, own_key, take_out_orphans
from ingestion_assets.entities.parsing import Rows
from ingestion_assets.entities.refused_rows import (
    KEY_BYTES,
    RefusedRow,
    fault_of,
    find_refused,
    take_out_long_keys,
)
from ingestion_assets.entities.stage_tables import stage_of
from ingestion_assets.entities.writing import Written, upsert
from ingestion_assets.stores.refusals import is_refusal

ANALYZED_FROM = 2000


class RowsRefusedError(Exception):
    """PostgreSQL refuses some staged rows; nothing was written."""

    def __init__(self, rows: Sequence[RefusedRow]) -> None:
        super().__init__(f"{len(rows)} rows cannot be stored")
        self.rows = rows


class Staging:
    """The staged rows of one transaction. Temporary tables, gone with it."""

    def __init__(self, connection: "psycopg.Connection[Any]", entities: EntitySet) -> None:
        self._connection = connection
        self._entities = entities
        self._rows: Counter[str] = Counter()
        self._per_place: dict[str, Counter[int]] = defaultdict(Counter)
        self._keys: dict[str, list[Any]] = defaultdict(list)
        self._refused: list[RefusedRow] = []

    def add(self, rows: Rows, *, at: int, sees: int) -> None:
        """Stage rows of one payload."""
        self.add_mixed(rows, at=[at] * len(rows), records=rows.records, sees=[sees] * len(rows))

    def add_mixed(self, rows: Rows, *, at: Sequence[int], records: Any, sees: Sequence[int]) -> None:
        """Stage rows of several payloads. What PostgreSQL refuses already here is among `take_out_refused`."""
        entity = rows.entity
        if entity.entity not in self._rows:
            self._connection.execute(self._create(entity))
        self._rows[entity.entity] += len(rows)
        self._per_place[entity.entity].update(at)
        self._keys[entity.entity].append(_keys(rows))
        self._copy(rows, at, records, sees)

    def _copy(self, rows: Rows, at: Sequence[int], records: Any, sees: Sequence[int]) -> None:
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
            stage_of(rows.entity), names(("_at", "_record", "_sees", *rows.entity.names))
        )
        try:
            with (
                self._connection.transaction(),
                self._connection.cursor() as cursor,
                cursor.copy(copy) as target,
            ):
                target.write(rows.as_csv(at, records, sees))
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            if len(rows) == 1:
                fault = fault_of(error, rows.entity)
                self._refused.append(RefusedRow(at[0], int(records[0]), rows.entity, fault))
                self._left(rows.entity, at)
                return
            half = len(rows) // 2
            for part in (slice(half), slice(half, None)):
                self._copy(rows.part(part), at[part], records[part], sees[part])

    def _create(self, entity: Entity) -> sql.Composed:
        return sql.SQL(
            'CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT 0 AS "_at", 0 AS "_record", 0 AS "_sees", {} FROM {} WITH NO DATA'
        ).format(stage_of(entity), names(entity.names), table_of(entity))

    @property
    def staged(self) -> list[Entity]:
        """Entities with staged rows, referenced ones first."""
        return [one for one in self._entities.entities if one.entity in self._rows]

    def analyze(self) -> None:
        """Tell the planner what is staged; worth it from a few thousand rows on."""
        for entity in self.staged:
            if self._rows[entity.entity] >= ANALYZED_FROM:
                columns = dict.fromkeys(
                    (*entity.primary_key, *(f for r in entity.references for f in r.fields))
                )
                self._connection.execute(
                    sql.SQL("ANALYZE {} ({})").format(stage_of(entity), names(tuple(columns)))
                )

    def take_out_refused(self) -> list[RefusedRow]:
        """Take out what no table can hold, as far as that shows before writing."""
        found, self._refused = self._refused, []
        for entity in self.staged:
            if any(_longest(keys) > KEY_BYTES for keys in self._keys[entity.entity]):
                long = take_out_long_keys(self._connection, entity)
                self._left(entity, [row.at for row in long])
                found += long
        return found

    def take_out_orphans(self, *, allowed: Mapping[int, int], gone: Sequence[str] = ()) -> Orphans:
        """Take out rows whose references are nowhere, and payloads with more errors than allowed; see `orphans`."""
        taken = take_out_orphans(self._connection, self._entities, self.staged, allowed=allowed, gone=gone)
        for one in taken.missing:
            self._per_place[one.entity][one.at] -= 1
        for at in taken.refused:
            for counts in self._per_place.values():
                counts.pop(at, None)
        return taken

    def take_out(self, rows: Sequence[RefusedRow]) -> list[str]:
        """Take out single rows. Gives their keys, which others may reference."""
        gone: list[str] = []
        for entity in self.staged:
            mine = [row for row in rows if row.entity is entity]
            statement = sql.SQL("""
                DELETE FROM {} row USING unnest(%s::integer[], %s::integer[]) AS gone (at, record)
                WHERE row."_at" = gone.at AND row."_record" = gone.record RETURNING {}
            """).format(stage_of(entity), own_key(entity))
            if mine:
                places = [row.at for row in mine]
                gone += [
                    key
                    for (key,) in self._connection.execute(statement, (places, [row.record for row in mine]))
                ]
                self._left(entity, places)
        return gone

    def upsert(self, drops: Mapping[int, UUID]) -> dict[tuple[int, str], Written]:
        """Write what is staged into the tables, by place and entity. `drops` are the payloads' ids by place.

        Raises `RowsRefusedError`.
        """
        written: dict[tuple[int, str], Written] = {}
        entity = None
        try:
            with self._connection.transaction():
                for entity in self.staged:
                    written |= upsert(
                        self._connection,
                        entity,
                        drops,
                        staged=self._per_place[entity.entity],
                        repeats=_repeats(self._keys[entity.entity], decimals=_has_decimal_key(entity)),
                    )
        except psycopg.Error as error:
            if entity is None or not is_refusal(error):
                raise
            refused = find_refused(self._connection, entity, drops)
            if not refused:
                raise
            raise RowsRefusedError(refused) from None  # the error may quote the row
        return written

    def _left(self, entity: Entity, places: Sequence[int]) -> None:
        self._per_place[entity.entity].subtract(places)


def _has_decimal_key(entity: Entity) -> bool:
    return any(entity.field(name).type == "decimal" for name in entity.primary_key)


def _keys(rows: Rows) -> Any:
    """The primary keys of the rows, as a list or as columns."""
    if not isinstance(rows.values, list):
        return rows.values.select(rows.entity.primary_key)
    places = [rows.entity.names.index(name) for name in rows.entity.primary_key]
    return [tuple(row[place] for place in places) for row in rows.values]


def _longest(keys: Any) -> int:
    """Bytes of the longest key, at most."""
    if isinstance(keys, list):
        return 4 * max((sum(map(len, key)) for key in keys), default=0)
    import polars as pl  # noqa: PLC0415

    texts = [pl.col(name).str.len_bytes() for name, kind in keys.schema.items() if kind == pl.String]
    return 0 if not texts or keys.is_empty() else keys.select(pl.sum_horizontal(texts).max()).item()


def _repeats(keys: Sequence[Any], *, decimals: bool) -> bool:
    """Whether some key may be there twice. Decimals may be written in several ways: then the database is asked."""
    if decimals:
        return True
    seen: set[tuple[str, ...]] = set()
    frames = [one for one in keys if not isinstance(one, list)]
    singles = [key for one in keys if isinstance(one, list) for key in one]
    for key in singles:
        if key in seen:
            return True
        seen.add(key)
    if not frames:
        return False
    import polars as pl  # noqa: PLC0415

    together = pl.concat(frames)
    if together.is_duplicated().any():
        return True
    return bool(singles) and not seen.isdisjoint(tuple(map(str, row)) for row in together.iter_rows())
