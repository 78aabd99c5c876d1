"""Records that a pydantic model describes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import msgspec
import pydantic
import pydantic_core.core_schema

from ingestion_assets.zones.column_kinds import column_of
from ingestion_assets.zones.reading import Unknown, array_of, read_each, rows_of
from ingestion_assets.zones.record_types import Read, RecordTypeError, Refusal
from ingestion_assets.zones.struct_records import values_getter

_BUILT_IN = set(get_args(pydantic_core.core_schema.ErrorType))
_QUOTING = {"value_error", "assertion_error", "union_tag_invalid"}
"""Errors whose sentence may quote the record: those of the model's own validators among them."""
_CODES = {"missing": "missing_field", "extra_forbidden": "unknown_field", "json_invalid": "not_json"}
_LONG_NUMBER = re.compile(rb"[0-9][0-9.]{14,}")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ModelRecords:
    """A pydantic model as a type of records. Columns have the names of its fields, records their aliases where there are such."""

    def __init__(self, model: type[pydantic.BaseModel]) -> None:
        if issubclass(model, pydantic.RootModel) or not model.model_fields:
            raise RecordTypeError(f"the model {model.__name__} must have fields: a record is an object")
        try:
            self.schema: dict[str, Any] = model.model_json_schema()
        except pydantic.errors.PydanticInvalidForJsonSchema as error:
            raise RecordTypeError(f"the model {model.__name__} has no JSON Schema: {error.message}") from None
        self._many = pydantic.TypeAdapter(list[model])  # pyright: ignore[reportInvalidTypeForm]
        self._one = pydantic.TypeAdapter(model)
        by_name = model.model_json_schema(by_alias=False)
        properties = _resolved(by_name).get("properties", {})
        made = [
            column_of(
                name,
                info.annotation,
                schema=_resolved({**by_name, **properties.get(name, {})}),
                to_json=pydantic_core.to_json,
                may_be_none=info.default is None,
            )
            for name, info in model.model_fields.items()
        ]
        self.columns = tuple(one.column for one in made)
        self._converts = [one.convert for one in made]
        self._values = values_getter(list(model.model_fields))
        self._decimals = {
            alias
            for column in self.columns
            if column.kind == "decimal"
            for alias in _names(column.name, model)
        }
        self._unknown = Unknown(alias for name in model.model_fields for alias in _names(name, model))

    def read(self, records: Sequence[bytes], *, texts: bool = False) -> Read:
        """Read records; see `RecordType`."""
        strict = False if texts else None
        sent = self._with_exact_decimals(records)
        positions, made, refused = read_each(
            sent,
            many=lambda array: self._many.validate_json(array, strict=strict),
            one=lambda record: self._one.validate_json(record, strict=strict),
            refusal=_refusal,
            texts=texts,
        )
        unknown = self._unknown.in_records([records[position] for position in positions])
        return Read(positions, rows_of(made, self._values, self._converts), made, refused, unknown)

    def told(self, unknown: Iterable[str]) -> None:
        """Unknown fields that were told; see `RecordType`."""
        self._unknown.told(unknown)

    def _with_exact_decimals(self, records: Sequence[bytes]) -> Sequence[bytes]:
        """Long numbers of decimal fields as texts: pydantic reads numbers by way of floats, of which 15 digits are certain."""
        if not self._decimals or not _LONG_NUMBER.search(array_of(records)):
            return records
        return [self._decimals_as_texts(one) if _LONG_NUMBER.search(one) else one for one in records]

    def _decimals_as_texts(self, record: bytes) -> bytes:
        try:
            members = _members(record)
        except (msgspec.DecodeError, RecursionError):
            return record
        for name in self._decimals & members.keys():
            text = bytes(members[name])
            if text[:1] in b"-0123456789":
                members[name] = msgspec.Raw(b'"' + text + b'"')
        return msgspec.json.encode(members)


def _names(field: str, model: type[pydantic.BaseModel]) -> Iterator[str]:
    """What a field may be called in a record."""
    info = model.model_fields[field]
    alias = info.validation_alias or info.alias
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    if alias is None or by_name:
        yield field
    for one in alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]:
        if isinstance(one, pydantic.AliasPath):
            yield str(one.path[0])
        elif one is not None:
            yield one


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return schema["$defs"][reference.rpartition("/")[2]] if reference.startswith("#/$defs/") else schema


def _refusal(error: Exception) -> Refusal:
    if not isinstance(error, pydantic.ValidationError):
        return Refusal("not_json", "", "the record is nested too deeply")
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, field = first["type"], ".".join(str(part) for part in first["loc"])
    if kind not in _BUILT_IN or kind in _QUOTING:
        return Refusal("invalid_value", field, "the model refuses the value")
    code = _CODES.get(kind)
    if code is None:
        code = "wrong_type" if kind.endswith(("_type", "_parsing", "int_from_float")) else "invalid_value"
    return Refusal(code, field, first["msg"])
