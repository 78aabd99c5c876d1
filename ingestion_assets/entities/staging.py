"""Rows on their way into the tables: staged by COPY, their references resolved by set-based SQL, then upserted.

Each staged row knows its payload's place in the order of acceptance (`_at`), its record there, and up to which place it
may see others (`_sees`): a row may reference what its own payload brings, in any order, and what was accepted before.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from ingestion_assets.entities.definition import Entity, Reference
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.parsing import Rows
from ingestion_assets.entities.tables import names, table_of

ANALYZED_FROM = 2000
_PLACES = sql.SQL(
    'places AS MATERIALIZED (SELECT * FROM unnest(%s::integer[], %s::uuid[]) AS place ("_place", "_id"))'
)


@dataclass(frozen=True, slots=True)
class Missing:
    """A staged row that was taken out because what it references is nowhere: the place, and the sentence."""

    at: int
    record: int
    entity: str
    field: str
    message: str


@dataclass(slots=True)
class Written:
    """What became of the staged rows of one payload and entity."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


class Staging:
    """The staged rows of one transaction. Temporary tables, gone with it."""

    def __init__(self, connection: "psycopg.Connection[Any]", entities: EntitySet) -> None:
        self._connection = connection
        self._entities = entities
        self._rows: Counter[str] = Counter()
        self._per_place: dict[str, Counter[int]] = defaultdict(Counter)
        self._keys: dict[str, list[Any]] = defaultdict(list)

    def add(self, rows: Rows, *, at: int, sees: int) -> None:
        """Stage rows of one payload."""
        self.add_mixed(rows, at=[at] * len(rows), records=rows.records, sees=[sees] * len(rows))

    def add_mixed(self, rows: Rows, *, at: Sequence[int], records: Any, sees: Sequence[int]) -> None:
        """Stage rows of several payloads."""
        entity = rows.entity
        if entity.entity not in self._rows:
            self._connection.execute(self._create(entity))
        self._rows[entity.entity] += len(rows)
        self._per_place[entity.entity].update(at)
        self._keys[entity.entity].append(_keys(rows))
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
            _stage(entity), names(("_at", "_record", "_sees", *entity.names))
        )
        with self._connection.cursor() as cursor, cursor.copy(copy) as target:
            target.write(rows.as_csv(at, records, sees))

    def _create(self, entity: Entity) -> sql.Composed:
        return sql.SQL(
            'CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT 0 AS "_at", 0 AS "_record", 0 AS "_sees", {} FROM {} WITH NO DATA'
        ).format(_stage(entity), names(entity.names), table_of(entity))

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
                    sql.SQL("ANALYZE {} ({})").format(_stage(entity), names(tuple(columns)))
                )

    def take_out_missing(self) -> list[Missing]:
        """Take out the rows whose references are nowhere, and then those that referenced them, until none is left."""
        found: list[Missing] = []
        for group in self._entities.groups:
            members = [one for one in group if one.entity in self._rows]
            again = bool(members)
            while again:
                before = len(found)
                for entity in members:
                    for reference in entity.references:
                        found += self._take_out(entity, reference)
                circular = len(members) > 1 or any(
                    reference.entity == one.entity for one in members for reference in one.references
                )
                again = circular and len(found) > before
        return found

    def _take_out(self, entity: Entity, reference: Reference) -> list[Missing]:
        target = self._entities.by_name[reference.entity]
        staged = target.entity in self._rows
        offered = (
            sql.SQL('SELECT {key}, min("_at") AS "_first" FROM {stage} GROUP BY {key}').format(
                key=names(target.primary_key), stage=_stage(target)
            )
            if staged
            else sql.SQL('SELECT {key}, NULL::integer AS "_first" FROM {table} WHERE false').format(
                key=names(target.primary_key), table=table_of(target)
            )
        )
        pairs = list(zip(reference.fields, target.primary_key, strict=True))
        statement = sql.SQL("""
            WITH wanted AS MATERIALIZED (
                SELECT {fields}, min("_sees") AS "_sees" FROM {stage} WHERE {given} GROUP BY {fields}
            ), offered AS MATERIALIZED (
                {offered}
            ), doubtful AS MATERIALIZED (
                SELECT wanted.*, offered."_first" FROM wanted LEFT JOIN offered ON {wanted_is_offered}
                WHERE offered."_first" IS NULL OR offered."_first" > wanted."_sees"
            ), missing AS MATERIALIZED (
                SELECT doubtful.* FROM doubtful
                LEFT JOIN LATERAL (SELECT true AS here FROM {table} stored WHERE {stored_is_doubtful} LIMIT 1) probe ON true
                WHERE probe.here IS NULL
            )
            DELETE FROM {stage} row USING missing
            WHERE {row_is_missing} AND (missing."_first" IS NULL OR row."_sees" < missing."_first")
            RETURNING row."_at", row."_record", {returned}
        """).format(
            fields=names(reference.fields),
            stage=_stage(entity),
            given=_each(pairs, lambda mine, _: sql.SQL("{} IS NOT NULL").format(mine)),
            offered=offered,
            wanted_is_offered=_each(
                pairs, lambda mine, key: sql.SQL("wanted.{} = offered.{}").format(mine, key)
            ),
            table=table_of(target),
            stored_is_doubtful=_each(
                pairs, lambda mine, key: sql.SQL("stored.{} = doubtful.{}").format(key, mine)
            ),
            row_is_missing=_each(pairs, lambda mine, _: sql.SQL("row.{0} = missing.{0}").format(mine)),
            returned=sql.SQL(", ").join(
                sql.SQL("row.{}::text").format(sql.Identifier(name)) for name in reference.fields
            ),
        )
        taken = self._connection.execute(statement).fetchall()
        self._left(entity, [row[0] for row in taken])
        return [
            Missing(
                row[0],
                row[1],
                entity.entity,
                ",".join(reference.fields),
                _missing_sentence(reference, row[2:]),
            )
            for row in taken
        ]

    def take_out_payloads(self, places: Sequence[int]) -> int:
        """Take out all rows of some payloads. Gives their number."""
        taken = 0
        for entity in self.staged:
            rows = self._connection.execute(
                sql.SQL('DELETE FROM {} WHERE "_at" = ANY(%s) RETURNING "_at"').format(_stage(entity)),
                (list(places),),
            ).fetchall()
            self._left(entity, [row[0] for row in rows])
            taken += len(rows)
        return taken

    def upsert(self, drops: Mapping[int, UUID]) -> dict[tuple[int, str], Written]:
        """Write what is staged into the tables; of several rows with one key the last wins. By place and entity.

        `drops` are the payloads' ids by place. A row is written only where it differs and is newer than what is there;
        one that is equal and newer takes over the place in the order, so that nothing older comes after it.
        """
        result: dict[tuple[int, str], Written] = {}
        places = {drop: at for at, drop in drops.items()}
        for entity in self.staged:
            for at, number in self._per_place[entity.entity].items():
                result[at, entity.entity] = Written(unchanged=number)
            for at, number in self._take_out_superseded(entity).items():
                result[at, entity.entity].updated += number
                result[at, entity.entity].unchanged -= number
            rows = self._connection.execute(_upsert(entity), (list(drops), list(drops.values()))).fetchall()
            for drop, inserted, updated in rows:
                written = result[places[drop], entity.entity]
                written.inserted += inserted
                written.updated += updated
                written.unchanged -= inserted + updated
            if any(result[at, entity.entity].unchanged for at in self._per_place[entity.entity]):
                self._connection.execute(_confirm(entity), (list(drops), list(drops.values())))
        return result

    def _take_out_superseded(self, entity: Entity) -> Counter[int]:
        if not _repeats(self._keys[entity.entity], decimals=_has_decimal_key(entity)):
            return Counter()
        same = _each(
            [(name, name) for name in entity.primary_key],
            lambda key, _: sql.SQL("row.{0} = later.{0}").format(key),
        )
        rows = self._connection.execute(
            sql.SQL("""
                DELETE FROM {stage} row USING (
                    SELECT {key}, max(ARRAY["_at", "_record"]) AS "_last" FROM {stage} GROUP BY {key} HAVING count(*) > 1
                ) later
                WHERE {same} AND ARRAY[row."_at", row."_record"] < later."_last" RETURNING row."_at"
            """).format(stage=_stage(entity), key=names(entity.primary_key), same=same)
        ).fetchall()
        return Counter(row[0] for row in rows)

    def _left(self, entity: Entity, places: Sequence[int]) -> None:
        self._per_place[entity.entity].subtract(places)


def _upsert(entity: Entity) -> sql.Composed:
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
            SELECT {columns}, places."_id", "_record" FROM {stage} row JOIN places ON places."_place" = row."_at"
            ON CONFLICT ({key}) DO {update}
            RETURNING "_drop", xmax = 0 AS inserted
        )
        SELECT "_drop", count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written GROUP BY "_drop"
    """).format(
        places=_PLACES,
        table=table_of(entity),
        columns=names(entity.names),
        stage=_stage(entity),
        key=names(entity.primary_key),
        update=update,
    )


def _confirm(entity: Entity) -> sql.Composed:
    """After `_upsert` whatever is older than its staged row is equal to it."""
    return sql.SQL("""
        WITH {places}
        UPDATE {table} stored SET "_drop" = places."_id", "_record" = row."_record"
        FROM {stage} row JOIN places ON places."_place" = row."_at"
        WHERE {same} AND (stored."_drop", stored."_record") < (places."_id", row."_record")
    """).format(
        places=_PLACES,
        table=table_of(entity),
        stage=_stage(entity),
        same=_each(
            [(name, name) for name in entity.primary_key],
            lambda key, _: sql.SQL("stored.{0} = row.{0}").format(key),
        ),
    )


def _stage(entity: Entity) -> sql.Identifier:
    return sql.Identifier(f"_stage_{entity.table}"[:63])


def _each(pairs: Sequence[tuple[str, str]], condition: Callable[[Any, Any], sql.Composed]) -> sql.Composed:
    each = [condition(sql.Identifier(mine), sql.Identifier(key)) for mine, key in pairs]
    return sql.Composed(each).join(" AND ")


def _missing_sentence(reference: Reference, values: Sequence[str]) -> str:
    key = ", ".join(f"{name}={value}" for name, value in zip(reference.fields, values, strict=True))
    return f"Foreign key violation: {key} not found in {reference.entity}"


def _has_decimal_key(entity: Entity) -> bool:
    return any(entity.field(name).type == "decimal" for name in entity.primary_key)


def _keys(rows: Rows) -> Any:
    """The primary keys of the rows, as a list or as columns."""
    if not isinstance(rows.values, list):
        return rows.values.select(rows.entity.primary_key)
    places = [rows.entity.names.index(name) for name in rows.entity.primary_key]
    return [tuple(row[place] for place in places) for row in rows.values]


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
