"""Records that a msgspec Struct describes."""

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from ingestion_assets.zones.column_kinds import column_of
from ingestion_assets.zones.reading import Unknown, read_each, rows_of
from ingestion_assets.zones.record_types import Read, RecordTypeError, Refusal

_AT = re.compile(r" - at `\$\.?(.*)`$")
_NAMED = re.compile(r"(?:required|unknown) field `(.*?)`")
_QUOTED = re.compile(r"'[^']*'")


class StructRecords:
    """A msgspec Struct as a type of records. Columns have the names of its fields, records those that they are encoded by."""

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        name = struct.__name__
        try:
            (root,), defined = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
            self._many = msgspec.json.Decoder(list[struct])
            self._one = msgspec.json.Decoder(struct)
            self._many_texts = msgspec.json.Decoder(list[struct], strict=False)
            self._one_texts = msgspec.json.Decoder(struct, strict=False)
        except TypeError as error:
            raise RecordTypeError(f"the struct {name} cannot be read from JSON: {error}") from None
        fields = msgspec.structs.fields(struct)
        if not fields or struct.__struct_config__.array_like:
            raise RecordTypeError(f"the struct {name} must have fields, and be written as an object")
        properties = (
            next(iter(defined.values()))["properties"] if len(defined) == 1 else defined[name]["properties"]
        )
        self.schema: dict[str, Any] = {**root, "$defs": defined}
        hints = get_type_hints(struct, include_extras=True)
        made = [
            column_of(
                one.name,
                hints[one.name],
                schema=properties.get(one.encode_name, {}),
                to_json=msgspec.json.encode,
                may_be_none=one.default is None,
            )
            for one in fields
        ]
        self.columns = tuple(one.column for one in made)
        self._converts = [one.convert for one in made]
        self._values = values_getter([one.name for one in fields])
        tag = struct.__struct_config__.tag_field
        self._unknown = Unknown([*(one.encode_name for one in fields), *([tag] if tag else [])])

    def read(self, records: Sequence[bytes], *, texts: bool = False) -> Read:
        """Read records; see `RecordType`."""
        positions, made, refused = read_each(
            records,
            many=(self._many_texts if texts else self._many).decode,
            one=(self._one_texts if texts else self._one).decode,
            refusal=refusal_of,
            texts=texts,
        )
        unknown = self._unknown.in_records([records[position] for position in positions])
        return Read(positions, rows_of(made, self._values, self._converts), made, refused, unknown)

    def told(self, unknown: Iterable[str]) -> None:
        """Unknown fields that were told; see `RecordType`."""
        self._unknown.told(unknown)


def values_getter(names: Sequence[str]) -> Any:
    """Gives the attributes of these names as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    get = attrgetter(*names)
    return lambda instance: (get(instance),)


def refusal_of(error: Exception) -> Refusal:
    """What is said of a record that msgspec refuses."""
    if isinstance(error, RecursionError):
        return Refusal("not_json", "", "the record is nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return Refusal("not_json", "", "the record holds what is no text in UTF-8")
    said = str(error)
    at = _AT.search(said)
    field = _dotted(at[1]) if at else ""
    if at:
        said = said[: at.start()]
    if isinstance(error.__cause__, Exception):  # of the type's own code, whose words may quote the record
        return Refusal("invalid_value", field, "the type of records refuses the value")
    if named := _NAMED.search(said):
        code = "missing_field" if "required" in said else "unknown_field"
        field = f"{field}.{named[1]}".removeprefix(".")
        return Refusal(
            code, field, "the field is missing" if code == "missing_field" else "the field is not known"
        )
    code = "wrong_type" if said.startswith("Expected") and ", got `" in said else "invalid_value"
    return Refusal(code, field, _QUOTED.sub("…", said))


def _dotted(path: str) -> str:
    return path.replace("[...]", ".…").replace("[", ".").replace("]", "").removeprefix(".")
