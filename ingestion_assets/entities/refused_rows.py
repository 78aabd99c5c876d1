"""Rows that PostgreSQL itself refuses, whatever the definition says: found one by one, so that their neighbours are stored.

A key that no index can hold, a row that no page can hold, a constraint or trigger that somebody added to the table. What is
said of them names the field and PostgreSQL's own code, never a value: what is refused is often what was never meant to be here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_tables import foreign_key_name
from ingestion_assets.entities.lines import LineFault
from ingestion_assets.entities.stage_tables import stage_of
from ingestion_assets.entities.writing import take_out_earlier, write
from ingestion_assets.stores.refusals import is_refusal, refusal_of

KEY_BYTES = 2696
"""What an entry of a B-tree holds, in pages of 8 kB: 2704 bytes with its head."""
_TOO_LARGE = "54000"
_NO_SUCH_ROW = "23503"
_OFFSETS = 512
"""More than a page has rows."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A staged row that cannot be stored: its place, its record, and what is said of it."""

    at: int
    record: int
    entity: Entity
    fault: LineFault


def fault_of(error: psycopg.Error, entity: Entity) -> LineFault:
    """What is said of a row that was refused."""
    field = error.diag.column_name if error.diag.column_name in entity.names else None
    said = f"PostgreSQL refuses the row: {refusal_of(error)}"
    if field is not None:
        said += f" in field {entity.names.index(field) + 2} ({field})"
    code = "too_long" if error.sqlstate == _TOO_LARGE else "refused_by_database"
    return LineFault(code, said, entity.entity, field)


def take_out_long_keys(connection: "psycopg.Connection[Any]", entity: Entity) -> list[RefusedRow]:
    """Take out the staged rows whose key no index can hold. What is repetitive is compressed, and may be longer."""
    sizes = [sql.SQL("pg_column_size(row.{})").format(sql.Identifier(name)) for name in entity.primary_key]
    rows = connection.execute(
        sql.SQL('DELETE FROM {} row WHERE {} > %s RETURNING row."_at", row."_record", {}').format(
            stage_of(entity), sql.SQL(" + ").join(sizes), sql.SQL(", ").join(sizes)
        ),
        (KEY_BYTES,),
    ).fetchall()
    return [
        RefusedRow(at, record, entity, _long_key(entity, dict(zip(entity.primary_key, found, strict=True))))
        for at, record, *found in rows
    ]


def _long_key(entity: Entity, sizes: Mapping[str, int]) -> LineFault:
    name = max(sizes, key=lambda one: sizes[one])
    message = (
        f"expected a key that an index can hold, of at most {KEY_BYTES} bytes once compressed, "
        f"in field {entity.names.index(name) + 2} ({name}), got {sum(sizes.values())} bytes"
    )
    return LineFault("too_long", message, entity.entity, name)


def find_refused(
    connection: "psycopg.Connection[Any]", entity: Entity, drops: Mapping[int, UUID]
) -> list[RefusedRow]:
    """The staged rows of an entity that its table refuses, by halving. Leaves everything as it is.

    What of them can be written stays until the end, for rows that exclude each other. A reference into nothing does
    not count: what it needs may be in another part.
    """
    with connection.transaction(force_rollback=True):
        connection.execute(take_out_earlier(entity), (list(drops), list(drops.values())))
        (pages,) = _one(
            connection.execute(
                sql.SQL(
                    "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int"
                ).format(),
                (stage_of(entity).as_string(connection),),
            )
        )
        found: list[RefusedRow] = []
        for start, error in _halve(connection, entity, drops, 0, pages * _OFFSETS):
            place = sql.SQL('SELECT "_at", "_record" FROM {} row WHERE {}').format(
                stage_of(entity), _between(start, start + 1)
            )
            at, record = _one(connection.execute(place))
            found.append(RefusedRow(at, record, entity, fault_of(error, entity)))
        return found


def _halve(
    connection: "psycopg.Connection[Any]", entity: Entity, drops: Mapping[int, UUID], start: int, end: int
) -> Iterator[tuple[int, psycopg.Error]]:
    """Where between start and end the rows stand that are refused, and why."""
    error = _refusal(connection, entity, drops, start, end)
    if error is None:
        return
    if end - start == 1:
        yield start, error
        return
    middle = (start + end) // 2
    yield from _halve(connection, entity, drops, start, middle)
    yield from _halve(connection, entity, drops, middle, end)


def _refusal(
    connection: "psycopg.Connection[Any]", entity: Entity, drops: Mapping[int, UUID], start: int, end: int
) -> psycopg.Error | None:
    try:
        with connection.transaction():
            connection.execute(write(entity, only=_between(start, end)), (list(drops), list(drops.values())))
    except psycopg.Error as error:
        if not is_refusal(error):
            raise
        mine = {foreign_key_name(entity, reference) for reference in entity.references}
        return None if error.sqlstate == _NO_SUCH_ROW and error.diag.constraint_name in mine else error
    return None


def _between(start: int, end: int) -> sql.Composed:
    """A condition on where rows stand in their table: pages and offsets in one number."""
    places = [sql.Literal(f"({place // _OFFSETS},{place % _OFFSETS})") for place in (start, end)]
    return sql.SQL("row.ctid >= {}::tid AND row.ctid < {}::tid").format(*places)


def _one(cursor: "psycopg.Cursor[Any]") -> tuple[Any, ...]:
    return cursor.fetchall()[0]
