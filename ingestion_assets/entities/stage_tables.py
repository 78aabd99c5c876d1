"""The temporary tables that rows are staged in: what they are called, and pieces of SQL about their rows."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, LiteralString

from psycopg import sql

from ingestion_assets.entities.definition import Entity, EntityField

_LONGEST_NAME = 63
_COMPARABLE: dict[str, LiteralString] = {
    "smallint": "{}::bigint::text", "integer": "{}::bigint::text", "decimal": "trim_scale({})::text",
}  # fmt: skip


def stage_of(entity: Entity) -> sql.Identifier:
    """The table's name behind `_stage_`; PostgreSQL cuts names at 63 bytes, so longer ones end with a digest."""
    name = f"_stage_{entity.table}"
    if len(name) > _LONGEST_NAME:
        name = f"{name[:46]}_{sha256(name.encode()).hexdigest()[:16]}"
    return sql.Identifier(name)


def each(pairs: Sequence[tuple[str, str]], condition: Callable[[Any, Any], sql.Composed]) -> sql.Composed:
    """A condition on each pair of columns, all of which must hold."""
    made = [condition(sql.Identifier(mine), sql.Identifier(key)) for mine, key in pairs]
    return sql.Composed(made).join(" AND ")


def key_text(entity: Entity, names: Sequence[str], *, of: str) -> sql.Composed:
    """A key in a text that is the same for equal keys: of the row's own fields, or of those that reference another's.

    `of` says whose key it is: equal values of two entities are different keys.
    """
    texts = [_comparable(entity.field(name)) for name in names]
    if len(texts) > 1:  # with their lengths, or ("a", "bc") would be ("ab", "c")
        texts = [sql.SQL("length({0}) || ':' || {0}").format(text) for text in texts]
    return sql.SQL("{} || {}").format(sql.Literal(f"{of}:"), sql.SQL(" || ").join(texts))


def _comparable(field: EntityField) -> sql.Composed:
    return sql.SQL(_COMPARABLE.get(field.type, "{}::text")).format(sql.Identifier("row", field.name))
