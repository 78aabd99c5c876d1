"""Records that a JSON Schema file describes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import jsonschema_rs
import msgspec

from ingestion_assets.zones.reading import UNFIT_NAME, Unknown, read_each, rows_of
from ingestion_assets.zones.record_types import Column, Kind, Read, RecordTypeError, Refusal
from ingestion_assets.zones.struct_records import refusal_of as struct_refusal
from ingestion_assets.zones.struct_records import values_getter

_FORMATS: dict[Any, Kind] = {"date-time": "timestamp", "date": "date", "uuid": "uuid"}
_TYPES: dict[Any, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "decimal",  # exact, as JSON's numbers are
    "boolean": "boolean",
}
_PYTHON: dict[Kind, Any] = {
    "text": str,
    "integer": int,
    "decimal": Decimal,
    "boolean": bool,
    "timestamp": datetime,
    "date": date,
    "uuid": UUID,
    "json": msgspec.Raw,
}
_CODES = {
    "required": "missing_field",
    "dependentRequired": "missing_field",
    "type": "wrong_type",
    "additionalProperties": "unknown_field",
    "unevaluatedProperties": "unknown_field",
}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_exact = msgspec.json.Decoder(float_hook=Decimal).decode
_exact_many = msgspec.json.Decoder(list[Any], float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class SchemaRecords:
    """A JSON Schema as a type of records: an object, whose `properties` are the columns. Instances are dictionaries."""

    def __init__(self, schema: dict[str, Any], *, name: str) -> None:
        for reference in _references(schema):
            if not reference.startswith("#"):
                raise RecordTypeError(
                    f"{name} refers to {reference}: only references within the file (#/…) are followed"
                )
        try:
            self._validator = jsonschema_rs.validator_for(
                schema, validate_formats=True, mask="the value", retriever=_refuse
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise RecordTypeError(f"{name} is no JSON Schema: {str(error).partition(chr(10))[0]}") from None
        self.schema = schema
        top = _resolve(schema, schema)
        properties: dict[str, Any] = top.get("properties", {})
        if top.get("type") != "object" or not properties:
            raise RecordTypeError(f"{name} must say type: object and name its properties")
        required = set(top.get("required", ()))
        self.columns = tuple(
            _column(one, _resolve(each, schema), one in required) for one, each in properties.items()
        )
        if odd := [one.name for one in self.columns if UNFIT_NAME.search(one.name)]:
            raise RecordTypeError(
                f"{name} has properties with a quote, a backslash or a control character, which no column can be called: {odd}"
            )
        struct = _struct(self.columns)
        self._many, self._one = msgspec.json.Decoder(list[struct]), msgspec.json.Decoder(struct)
        self._values = values_getter(struct.__struct_fields__)
        self._converts = [_json_text if one.kind == "json" else None for one in self.columns]
        self._unknown = Unknown(properties)

    @classmethod
    def of_file(cls, path: str | Path, *, folder: Path) -> "SchemaRecords":
        """The JSON Schema in a file, a path in `folder`. Raises `RecordTypeError`."""
        file = folder / path
        try:
            if not file.resolve().is_relative_to(folder.resolve()):
                raise RecordTypeError(f"{path} is not in {folder}")
            schema = msgspec.json.decode(file.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise RecordTypeError(f"the JSON Schema {file} cannot be read: {error}") from None
        if not isinstance(schema, dict):
            raise RecordTypeError(f"the JSON Schema {file} is no object")
        return cls(schema, name=str(file))

    def read(self, records: Sequence[bytes], *, texts: bool = False) -> Read:
        """Read records; see `RecordType`."""
        if texts:
            records = [self._with_types(one) for one in records]

        def one(record: bytes) -> Any:
            return self._valid(_exact(record))

        def many(array: bytes) -> list[Any]:
            return [self._valid(each) for each in _exact_many(array)]

        positions, documents, refused = read_each(records, many=many, one=one, refusal=_refusal, texts=texts)
        valid = [records[position] for position in positions]
        places, made, more = read_each(
            valid, many=self._many.decode, one=self._one.decode, refusal=struct_refusal, texts=False
        )
        refused |= {positions[place]: refusal for place, refusal in more.items()}
        return Read(
            [positions[place] for place in places],
            rows_of(made, self._values, self._converts),
            [documents[place] for place in places],
            refused,
            self._unknown.in_records(valid),
        )

    def told(self, unknown: Iterable[str]) -> None:
        """Unknown fields that were told; see `RecordType`."""
        self._unknown.told(unknown)

    def _valid(self, document: Any) -> Any:
        if not self._validator.is_valid(document):
            raise _InvalidError(next(self._validator.iter_errors(document)))
        return document

    def _with_types(self, record: bytes) -> bytes:
        """A row of CSV with numbers, booleans and JSON for the texts that are such."""
        try:
            texts = msgspec.json.decode(record, type=dict[str, str])
        except msgspec.DecodeError:
            return record  # it is refused
        kinds: dict[str, Kind] = {column.name: column.kind for column in self.columns}
        return _encode({name: _typed(text, kinds.get(name, "text")) for name, text in texts.items()})


class _InvalidError(ValueError):
    """A record that the schema refuses."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.message)
        self.error = error


def _typed(text: str, kind: Kind) -> Any:
    if kind in ("integer", "decimal") and _NUMBER.fullmatch(text):
        return msgspec.Raw(text.encode())
    if kind == "boolean" and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if kind == "json":
        try:
            return msgspec.json.decode(text, type=msgspec.Raw)
        except msgspec.DecodeError:
            return text
    return text


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not fetched")


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for one in node:
            yield from _references(one)


def _resolve(node: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, with what a reference of its own says; at most so many in a row."""
    for _ in range(20):
        if not isinstance(node, dict):
            return {}
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return node
        target: Any = schema
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, dict) else None
        node = target
    return {}


def _column(name: str, schema: dict[str, Any], required: bool) -> Column:
    options = [schema]
    for word in ("anyOf", "oneOf"):
        options = [one for option in options for one in option.get(word, [option]) if isinstance(one, dict)]
    said = [_kind(one) for one in options]
    kinds: set[Kind] = {kind for kind, _ in said if kind is not None}
    kind: Kind = kinds.pop() if len(kinds) == 1 else "json"
    return Column(name, kind, nullable=not required or any(null for _, null in said))


def _kind(schema: dict[str, Any]) -> tuple[Kind | None, bool]:
    """The kind that a schema says, None for null alone; and whether null is allowed."""
    types = schema.get("type")
    if types is None and ("const" in schema or "enum" in schema):
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        kinds = {str if isinstance(one, str) else None for one in values if one is not None}
        return ("text" if kinds == {str} else "json"), None in values
    if types is None:
        return "json", True
    named = [types] if isinstance(types, str) else list(types)
    rest = [one for one in named if one != "null"]
    if not rest:
        return None, True
    kind = _TYPES.get(rest[0], "json") if len(rest) == 1 else "json"
    if kind == "text":
        kind = _FORMATS.get(schema.get("format"), "text")
    return kind, len(rest) < len(named)


def _struct(columns: Sequence[Column]) -> type[msgspec.Struct]:
    """A Struct that reads the values of the columns."""
    fields: list[Any] = [
        (f"f{place}", msgspec.Raw, msgspec.Raw(b"null"))
        if one.kind == "json"
        else (f"f{place}", _PYTHON[one.kind] | None, None)
        for place, one in enumerate(columns)
    ]
    names = {f"f{place}": one.name for place, one in enumerate(columns)}
    return msgspec.defstruct("Record", fields, rename=names, gc=False)


def _json_text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text


def _refusal(error: Exception) -> Refusal:
    if not isinstance(error, _InvalidError):
        return Refusal("not_json", "", "the record is no JSON that can be read")
    told = error.error
    kind = told.kind.name
    field = ".".join(str(part) for part in told.instance_path)
    if kind == "required":
        field = f"{field}.{told.kind.property}".removeprefix(".")
        return Refusal("missing_field", field, "the field is missing")
    return Refusal(_CODES.get(kind, "invalid_value"), field, told.message)
