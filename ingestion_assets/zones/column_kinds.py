"""Which column a field of a Python type is, and how what stands in it becomes a value of that column."""

import enum
import types
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin
from uuid import UUID

import msgspec
import pydantic_core

from ingestion_assets.zones.record_types import Column, Kind

_PLAIN: dict[type, Kind] = {
    str: "text",
    int: "integer",
    float: "number",
    Decimal: "decimal",
    bool: "boolean",
    datetime: "timestamp",
    date: "date",
    UUID: "uuid",
}
_BY_SCHEMA: dict[Any, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


class Converted(msgspec.Struct, frozen=True):
    """A column, and what makes its value of what the type gives, None where that is it already."""

    column: Column
    convert: Callable[[Any], Any] | None


def column_of(
    name: str, annotation: Any, *, schema: dict[str, Any], to_json: Callable[[Any], bytes], may_be_none: bool
) -> Converted:
    """The column of a field. `schema` is the field's own JSON Schema: what is said there counts for types unknown here."""
    inner, nullable = _without_none(annotation)
    nullable = nullable or may_be_none  # a default of None, whatever the annotation says
    plain = _PLAIN.get(inner) if isinstance(inner, type) else None
    if plain is not None:
        return Converted(Column(name, plain, nullable), None)
    kind = _kind_of_literals(inner) or _BY_SCHEMA.get(_type_in(schema), "json")

    def convert(value: Any) -> Any:
        if value is None or value is msgspec.UNSET:
            return None
        if kind == "json":
            return to_json(value).decode()
        made = pydantic_core.to_jsonable_python(value.value if isinstance(value, enum.Enum) else value)
        return float(made) if kind == "number" else made

    return Converted(Column(name, kind, nullable), convert)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            break
    if get_origin(annotation) in (Union, types.UnionType):
        members = get_args(annotation)
        rest = [one for one in members if one not in (type(None), msgspec.UnsetType)]
        nullable = len(rest) < len(members)
        if len(rest) == 1:
            inner, more = _without_none(rest[0])
            return inner, nullable or more
        return annotation, nullable
    return annotation, annotation in (Any, None, object)


def _kind_of_literals(annotation: Any) -> Kind | None:
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        kinds = {type(member.value) for member in annotation}
    elif get_origin(annotation) is Literal:
        kinds = {type(value) for value in get_args(annotation)}
    else:
        return None
    return _PLAIN.get(kinds.pop(), "json") if len(kinds) == 1 else "json"


def _type_in(schema: dict[str, Any]) -> Any:
    """The one type that a field's schema names beside null."""
    options = schema.get("anyOf") or schema.get("oneOf") or [schema]
    found = {one.get("type") for one in options if isinstance(one.get("type"), str | None)} - {"null"}
    return found.pop() if len(found) == 1 else None
