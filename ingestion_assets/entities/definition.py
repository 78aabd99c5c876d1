"""What an entity is: the model that its YAML file is checked against. No files, no database here."""

import re
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Type = Literal[
    "smallint", "integer", "bigint", "decimal", "string", "text", "boolean", "date", "timestamp", "uuid"
]
_NAME = r"^[a-z][a-z0-9_]{0,58}$"
_DATE_PARTS = {"%Y", "%m", "%d"}
_TIME_PARTS = {"%H", "%M", "%S", "%f", "%z"}
_PARTS = re.compile(r"%.")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "oid", "tableoid", "xmax", "xmin"})

Name = Annotated[str, Field(pattern=_NAME)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Formats(_Strict):
    """How values are written in messages. Formats of dates are made of %Y %m %d, of timestamps also %H %M %S %f %z."""

    date: str = Field("%Y-%m-%d", description="Dates; all of %Y, %m and %d, padded with zeros.")
    timestamp: str = Field(
        "%Y-%m-%dT%H:%M:%S%z",
        description="Points in time; without %z they are taken as UTC. %f is 1 to 6 digits after a point.",
    )
    decimal: Literal[".", ","] = Field(".", description="The sign before the decimals.")
    group: Literal["", ".", ",", " ", "'"] = Field("", description="The sign between groups of three digits.")
    when_true: tuple[str, ...] = Field(
        ("true", "t", "1"), min_length=1, description="How a boolean says yes."
    )
    when_false: tuple[str, ...] = Field(
        ("false", "f", "0"), min_length=1, description="How a boolean says no."
    )
    missing: str = Field("", description="What stands for a missing value.")

    @model_validator(mode="after")
    def _check(self) -> "Formats":
        _check_parts("date", self.date, allowed=_DATE_PARTS)
        _check_parts("timestamp", self.timestamp, allowed=_DATE_PARTS | _TIME_PARTS)
        if "%f" in self.timestamp and ".%f" not in self.timestamp:
            raise ValueError("timestamp: %f must follow a point")
        if self.decimal == self.group:
            raise ValueError("decimal and group must differ")
        if set(self.when_true) & set(self.when_false):
            raise ValueError("when_true and when_false share a text")
        if "|" in self.date + self.timestamp + self.missing + "".join(self.when_true + self.when_false):
            raise ValueError("`|` separates fields and cannot be part of a format")
        return self


def _check_parts(what: str, given: str, *, allowed: set[str]) -> None:
    parts = _PARTS.findall(given)
    if unknown := sorted(set(parts) - allowed):
        raise ValueError(f"{what}: {unknown[0]} is not one of {' '.join(sorted(allowed))}")
    if len(parts) != len(set(parts)):
        raise ValueError(f"{what}: a part is named twice")
    if missing := sorted(_DATE_PARTS - set(parts)):
        raise ValueError(f"{what}: {missing[0]} is missing")


class EntityField(_Strict):
    """One field of a message, one column of the table."""

    name: Name = Field(description="Name of the column.")
    type: Type
    length: int | None = Field(
        None, ge=1, le=10_485_760, description="Most characters of a `string`; required there."
    )
    precision: int | None = Field(
        None, ge=1, le=1000, description="Digits of a `decimal` in all; required there."
    )
    scale: int | None = Field(
        None, ge=0, le=1000, description="Digits after the decimal sign; required there."
    )
    nullable: bool = Field(False, description="Whether the value may be missing.")
    empty: Literal["refused", "allowed"] = Field(
        "refused",
        description="Whether nothing is an empty text in a required `string` or `text`. A nullable one takes it as NULL.",
    )
    values: tuple[str, ...] | None = Field(None, min_length=1, description="The only texts allowed.")
    description: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "EntityField":
        if self.name in _SYSTEM_COLUMNS:
            raise ValueError(f"{self.name} is a name that PostgreSQL keeps for itself")
        if (self.length is not None) != (self.type == "string"):
            raise ValueError(
                "a string needs a length (or is of type text)"
                if self.type == "string"
                else f"a {self.type} has no length"
            )
        if (self.type == "decimal") != (self.precision is not None and self.scale is not None):
            raise ValueError(
                "a decimal needs precision and scale"
                if self.type == "decimal"
                else f"a {self.type} has no precision or scale"
            )
        if self.precision is not None and self.scale is not None and self.scale > self.precision:
            raise ValueError("scale is larger than precision")
        if self.empty == "allowed" and (self.nullable or self.type not in {"string", "text"}):
            raise ValueError("only a required string or text may allow empty ones")
        if self.values is not None and self.type not in {"string", "text"}:
            raise ValueError("only string and text may list values")
        return self


class Reference(_Strict):
    """Fields that must name a row of another entity, or of the same one."""

    fields: tuple[Name, ...] = Field(min_length=1, description="Fields of this entity.")
    entity: str = Field(description="The entity whose primary key they hold, in its order.")


class Entity(_Strict):
    """One kind of message: how its lines begin, what its fields are, and the table they go into."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Entity definition")

    entity: str = Field(
        pattern=r"^[A-Z][A-Za-z0-9]{0,62}$", description="Name of the entity, as answers show it."
    )
    prefix: str = Field(
        pattern=r"^[A-Za-z0-9_.-]{1,32}$",
        description="What a line of this entity begins with, before the first `|`.",
    )
    table: Name = Field(description="Name of the table, in the schema `entities`.")
    description: str = Field("", description="What it is, for people.")
    formats: Formats = Field(default_factory=lambda: Formats.model_validate({}))
    fields: tuple[EntityField, ...] = Field(
        min_length=1, max_length=500, description="In the order in which messages have them."
    )
    primary_key: tuple[Name, ...] = Field(min_length=1, description="The fields that identify a row.")
    references: tuple[Reference, ...] = Field((), description="Rows that must exist.")

    @model_validator(mode="after")
    def _check(self) -> "Entity":
        names = [field.name for field in self.fields]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"fields: {min(twice)} is defined twice")
        if len(set(self.primary_key)) != len(self.primary_key):
            raise ValueError("primary_key: names a field twice")
        for name in self.primary_key:
            if name not in names:
                raise ValueError(f"primary_key: there is no field {name}")
            if self.field(name).nullable:
                raise ValueError(f"primary_key: {name} must not be nullable")
        for reference in self.references:
            for name in reference.fields:
                if name not in names:
                    raise ValueError(f"references: there is no field {name}")
        return self

    def field(self, name: str) -> EntityField:
        """The field of that name. Raises `KeyError`."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The fields' names, in order."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def asset_name(self) -> str:
        """What its asset is called: `OrderLineItem` is `order_line_item`."""
        return _WORD.sub("_", self.entity).lower()

    @cached_property
    def version(self) -> str:
        """The same for the same definition, in whatever file and process."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @cached_property
    def required(self) -> int:
        """How many fields a line must have: trailing ones that are nullable may be left out."""
        return max(index for index, field in enumerate(self.fields, 1) if not field.nullable)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of one definition file, for editors."""
    schema = Entity.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
