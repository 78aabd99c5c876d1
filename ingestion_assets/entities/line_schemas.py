"""What the API document says of lines: a schema for each active entity, made of its definition, and words that endpoints share."""

import re
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from ingestion_assets.entities.definition import Entity, EntityField, Formats
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.flow import NAME
from ingestion_assets.frontdoor.openapi import receipt_to_come, reference

PLAIN_TEXT = frozenset({"text/plain"})
"""The media type that the endpoints take."""
ORDER = "O|1|100|O|123.45|1996-01-02|5-LOW|Clerk#000000951|0|nstructions sleep"
STRING = {"schema": {"type": "string"}}
ENTITY_LINES = reference("EntityLines")
LATER = receipt_to_come(flow=NAME, partition="2026-01-31")
ANY_LINES = {"type": "string", "description": "Lines, as `EntityLines` has them."}


def refused(model: type[BaseModel]) -> dict[str, Any]:
    """The `responses` entry of 400."""
    return {
        "description": "Nothing was stored: the lines are wrong, or the request is.",
        "model": model,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
    }


_MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def line_schemas(entities: EntitySet) -> dict[str, Any]:
    """`EntityLines`, what a body may be, and a `<Entity>Line` for each entity."""
    lines = {
        "type": "string",
        "description": "Lines that end with LF or CRLF; blank ones and those that begin with `#` are passed over.",
        "anyOf": [reference(_name(entity)) for entity in entities.entities],
    }
    return {"EntityLines": lines, **{_name(entity): _line(entity) for entity in entities.entities}}


def _name(entity: Entity) -> str:
    return f"{entity.entity}Line"


def _line(entity: Entity) -> dict[str, Any]:
    fields = "\n".join(f"{number}. {_words(entity, field)}" for number, field in enumerate(entity.fields, 1))
    return {
        "type": "string",
        "title": _name(entity),
        "description": f"{entity.description or entity.entity}\n\n`{entity.prefix}`, then the fields, each after a `|`:\n\n{fields}",
        "pattern": rf"(^|\n|\ufeff){re.escape(entity.prefix)}\|",
        "examples": [example_line(entity)],
        "x-fields": [
            {**field.model_dump(exclude_none=True), "primary_key": field.name in entity.primary_key}
            for field in entity.fields
        ],
        "x-references": [
            {"fields": list(one.fields), "entity": one.entity} for one in entity.references
        ],
    }  # fmt: skip


def _words(entity: Entity, field: EntityField) -> str:
    size = field.length or (f"{field.precision},{field.scale}" if field.precision else "")
    words = [f"`{field.name}`: {field.type}{f'({size})' if size else ''}"]
    words += ["primary key"] if field.name in entity.primary_key else []
    words += ["may be missing"] if field.nullable else []
    words += [f"one of {', '.join(field.values)}"] if field.values else []
    words += [f"of {one.entity}" for one in entity.references if field.name in one.fields]
    return ", ".join(words) + (f". {field.description}" if field.description else "")


def example_line(entity: Entity) -> str:
    """A line that is well-formed; the rows that it refers to need not exist."""
    return "|".join([entity.prefix, *(_example(field, entity.formats) for field in entity.fields)])


def _example(field: EntityField, formats: Formats) -> str:
    if field.values:
        return field.values[0]
    if field.type == "decimal":
        digits = (field.precision or 1) - (field.scale or 0)
        return ("1" if digits > 0 else "0") + (f"{formats.decimal}{'0' * field.scale}" if field.scale else "")
    if field.type == "timestamp":
        return _MOMENT.strftime(formats.timestamp.replace("%z", "Z"))
    return {
        "date": _MOMENT.strftime(formats.date),
        "boolean": formats.when_true[0],
        "uuid": "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f",
        "string": "text"[: field.length],
        "text": "text",
    }.get(field.type, "1")
