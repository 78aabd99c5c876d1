"""Staged rows that reference what is nowhere: taken out, and with them the rows that reference those, however long the chain.

The first passes are set-based SQL over all that is staged. What then still falls, one row after the other, falls in memory:
the rows that might are found by one recursive query, so that a chain of rows takes as long as as many rows apart.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ingestion_assets.entities.definition import Entity, Reference
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import names, table_of
from ingestion_assets.entities.falling import Edge, Offers, fall, payload_key
from ingestion_assets.entities.stage_tables import each, key_text, stage_of
from ingestion_assets.entities.values import cut

PASSES = 3
"""Passes over all that is staged, where entities reference themselves or each other, before the rest falls in memory."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Missing:
    """A staged row that was taken out because what it references is nowhere: the place, and the sentence."""

    at: int
    record: int
    entity: str
    field: str
    message: str


@dataclass(slots=True)
class Orphans:
    """What was taken out: rows one by one, and by their places payloads that have more errors than they may."""

    missing: list[Missing] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)


def take_out_orphans(
    connection: Connection,
    entities: EntitySet,
    staged: Sequence[Entity],
    *,
    allowed: Mapping[int, int],
    gone: Sequence[str] = (),
) -> Orphans:
    """Take out the rows whose references are nowhere, then those that referenced them, until none is left.

    `allowed` says how many more errors payloads may have, by place; one that has more goes whole. `gone` are keys of rows
    that were taken out before for another reason: only what follows from those is looked for then.
    """
    taken = Orphans()
    falling = list(gone)
    if not gone:
        for group in entities.groups:
            falling += _passes(connection, entities, group, staged, taken)
    errors = Counter(one.at for one in taken.missing)
    taken.refused = {at for at, number in allowed.items() if errors[at] > number}
    falling += map(payload_key, taken.refused)
    if falling:
        _let_fall(connection, entities, staged, allowed, falling, errors, taken)
    return taken


def own_key(entity: Entity) -> sql.Composed:
    """The key of a staged row, as others are compared with it."""
    return key_text(entity, entity.primary_key, of=entity.entity)


def _passes(
    connection: Connection,
    entities: EntitySet,
    group: Sequence[Entity],
    staged: Sequence[Entity],
    taken: Orphans,
) -> list[str]:
    """Take out what references nothing, pass by pass. Gives the keys of what the last pass took, if it was not in vain."""
    members = [one for one in group if one in staged]
    circular = any(
        reference.entity in {one.entity for one in group} for one in members for reference in one.references
    )
    falling: list[str] = []
    for _ in range(PASSES if circular else 1):
        falling = []
        for entity in members:
            for reference in entity.references:
                target = entities.by_name[reference.entity]
                for key, at, record, *values in connection.execute(
                    _take_out(entity, reference, target, staged=target in staged)
                ).fetchall():
                    falling.append(key)
                    taken.missing.append(_missing(entity, reference, at, record, values))
        if not falling:
            break
    return falling if circular else []


def _take_out(entity: Entity, reference: Reference, target: Entity, *, staged: bool) -> sql.Composed:
    offered = (
        sql.SQL('SELECT {key}, min("_at") AS "_first" FROM {stage} GROUP BY {key}').format(
            key=names(target.primary_key), stage=stage_of(target)
        )
        if staged
        else sql.SQL('SELECT {key}, NULL::integer AS "_first" FROM {table} WHERE false').format(
            key=names(target.primary_key), table=table_of(target)
        )
    )
    pairs = list(zip(reference.fields, target.primary_key, strict=True))
    return sql.SQL("""
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
        RETURNING {own}, row."_at", row."_record", {returned}
    """).format(
        fields=names(reference.fields),
        stage=stage_of(entity),
        given=each(pairs, lambda mine, _: sql.SQL("{} IS NOT NULL").format(mine)),
        offered=offered,
        wanted_is_offered=each(pairs, lambda mine, key: sql.SQL("wanted.{} = offered.{}").format(mine, key)),
        table=table_of(target),
        stored_is_doubtful=each(
            pairs, lambda mine, key: sql.SQL("stored.{} = doubtful.{}").format(key, mine)
        ),
        row_is_missing=each(pairs, lambda mine, _: sql.SQL("row.{0} = missing.{0}").format(mine)),
        own=own_key(entity),
        returned=_texts(reference.fields),
    )


def _let_fall(
    connection: Connection,
    entities: EntitySet,
    staged: Sequence[Entity],
    allowed: Mapping[int, int],
    falling: Sequence[str],
    errors: Counter[int],
    taken: Orphans,
) -> None:
    offers, edges = _might_fall(connection, entities, staged, list(allowed), falling)
    fallen = fall(falling, offers, edges, allowed, errors, taken.refused)
    for (number, index), places in fallen.items():
        entity = staged[number]
        reference = entity.references[index]
        rows = connection.execute(
            sql.SQL("""
                DELETE FROM {stage} row USING unnest(%s::integer[], %s::integer[]) AS gone (at, record)
                WHERE row."_at" = gone.at AND row."_record" = gone.record RETURNING row."_at", row."_record", {returned}
            """).format(stage=stage_of(entity), returned=_texts(reference.fields)),
            ([at for at, _ in places], [record for _, record in places]),
        ).fetchall()
        taken.missing += [_missing(entity, reference, at, record, values) for at, record, *values in rows]
    if taken.refused:
        for entity in staged:
            connection.execute(
                sql.SQL('DELETE FROM {} WHERE "_at" = ANY(%s)').format(stage_of(entity)),
                (list(taken.refused),),
            )


def _might_fall(
    connection: Connection,
    entities: EntitySet,
    staged: Sequence[Entity],
    limited: Sequence[int],
    falling: Sequence[str],
) -> tuple[dict[str, Offers], dict[str, list[Edge]]]:
    """By key, the places of the rows that have it, and the rows that need it: all that the falling ones may bring down."""
    connection.execute(_edges(entities, staged), {"limited": list(limited)})
    connection.execute("CREATE INDEX ON _edges USING hash (wanted)")  # a B-tree could not hold every key
    connection.execute("ANALYZE _edges")
    connection.execute(
        """
        CREATE TEMP TABLE _gone ON COMMIT DROP AS
        WITH RECURSIVE gone (key) AS (
            SELECT unnest(%s::text[])
            UNION
            SELECT next.key FROM gone  -- OFFSET 0: by the index, key by key; a join may read all edges for each step of a chain
            CROSS JOIN LATERAL (SELECT own, payload FROM _edges WHERE wanted = gone.key OFFSET 0) edge
            CROSS JOIN LATERAL (VALUES (edge.own), (edge.payload)) AS next (key) WHERE next.key IS NOT NULL
        ) SELECT key FROM gone
        """,
        (list(falling),),
    )
    connection.execute("ANALYZE _gone")
    edges: dict[str, list[Edge]] = defaultdict(list)
    for wanted, *edge in connection.execute(
        "SELECT wanted, own, entity, reference, at, record, sees FROM _edges JOIN _gone ON key = wanted ORDER BY sees DESC"
    ):
        edges[wanted].append(Edge(*edge))
    offers: dict[str, Offers] = defaultdict(Offers)
    for entity in staged:
        offered = sql.SQL(
            'SELECT key, row."_at" FROM {stage} row JOIN _gone ON key = {own} ORDER BY 2 DESC'
        ).format(stage=stage_of(entity), own=own_key(entity))
        for key, at in connection.execute(offered):
            offers[key].add(at)
    connection.execute("DROP TABLE _edges, _gone")
    return offers, edges


def _edges(entities: EntitySet, staged: Sequence[Entity]) -> sql.Composed:
    """Which staged row needs which key that is not stored; and which belong to payloads that may have only so many errors."""
    payload = sql.SQL("""CASE WHEN row."_at" = ANY(%(limited)s::integer[]) THEN '@' || row."_at" END""")
    place = sql.SQL('row."_at", row."_record", row."_sees"')
    made = [
        sql.SQL(
            "SELECT NULL::text AS wanted, NULL::text AS own, NULL::text AS payload, 0 AS entity, 0 AS reference, 0 AS at, "
            "0 AS record, 0 AS sees WHERE false"
        ).format()
    ]
    for number, entity in enumerate(staged):
        made.append(
            sql.SQL(
                'SELECT {payload}, {own}, NULL, {number}, -1, {place} FROM {stage} row WHERE "_at" = ANY(%(limited)s::integer[])'
            ).format(payload=payload, own=own_key(entity), number=number, place=place, stage=stage_of(entity))
        )
        for index, reference in enumerate(entity.references):
            target = entities.by_name[reference.entity]
            if target not in staged:
                continue
            pairs = list(zip(reference.fields, target.primary_key, strict=True))
            made.append(
                sql.SQL("""
                    SELECT {wanted}, {own}, {payload}, {number}, {index}, {place} FROM {stage} row
                    WHERE {given} AND NOT EXISTS (SELECT FROM {table} stored WHERE {stored_is_wanted})
                """).format(
                    wanted=key_text(entity, reference.fields, of=target.entity),
                    own=own_key(entity),
                    payload=payload,
                    number=number,
                    index=index,
                    place=place,
                    stage=stage_of(entity),
                    given=each(pairs, lambda mine, _: sql.SQL("row.{} IS NOT NULL").format(mine)),
                    table=table_of(target),
                    stored_is_wanted=each(
                        pairs, lambda mine, key: sql.SQL("stored.{} = row.{}").format(key, mine)
                    ),
                )
            )
    return sql.SQL("CREATE TEMP TABLE _edges ON COMMIT DROP AS {}").format(sql.SQL(" UNION ALL ").join(made))


def _missing(entity: Entity, reference: Reference, at: int, record: int, values: Sequence[str]) -> Missing:
    key = ", ".join(f"{name}={cut(value)}" for name, value in zip(reference.fields, values, strict=True))
    message = f"Foreign key violation: {key} not found in {reference.entity}"
    return Missing(at, record, entity.entity, ",".join(reference.fields), message)


def _texts(fields: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("row.{}::text").format(sql.Identifier(name)) for name in fields)
