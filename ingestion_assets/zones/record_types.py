"""What a record is: the words that are shared by the three ways to say it (pydantic model, msgspec Struct, JSON Schema file)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Kind = Literal["text", "integer", "number", "decimal", "boolean", "timestamp", "date", "uuid", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a record as a column of a table."""

    name: str
    kind: Kind
    nullable: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is not taken: a stable code, the field (`items.2.price`, empty for the record), a sentence without content.

    Codes: `not_json`, `missing_field`, `wrong_type`, `invalid_value`, `unknown_field`, `wrong_fields` (a row of CSV).
    """

    code: str
    field: str
    reason: str


@dataclass(slots=True)
class Read:
    """What was read of the records of a payload.

    `values` are those of the good ones, in the order of `RecordType.columns`, and `instances` what the user's type made of them;
    `positions` says where in the payload each stood. `refused` are the others by position. `unknown` are the fields that the type
    has no place for and that were not `told`, which is no fault of a record.

    Values are of these types by kind: text `str`, integer `int`, number `float`, decimal `Decimal`, boolean `bool`, timestamp
    `datetime` (without a zone it is UTC), date `date`, uuid `UUID`, json `str`, the JSON; or None.
    """

    positions: Sequence[int]
    values: Sequence[tuple[Any, ...]]
    instances: Sequence[Any]
    refused: Mapping[int, Refusal]
    unknown: set[str] = field(default_factory=set)


class RecordTypeError(Exception):
    """A type of records that cannot be used; says which, why and what to do."""


class RecordType(Protocol):
    """A type of records."""

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema, whole: references point into it."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its fields."""
        ...

    def read(self, records: Sequence[bytes], *, texts: bool = False) -> Read:
        """Read records, each JSON bytes. `texts`: they come from CSV, where numbers and booleans are written as texts."""
        ...

    def told(self, unknown: Iterable[str]) -> None:
        """Unknown fields that somebody was told of, so that they need not be told again."""
        ...


def record_type(model: object, *, folder: Path | None = None) -> RecordType:
    """The type of records that a pydantic model, a msgspec Struct or the path of a JSON Schema file (in `folder`) says.

    Raises `RecordTypeError`.
    """
    import msgspec  # noqa: PLC0415
    import pydantic  # noqa: PLC0415

    if isinstance(model, str | Path):
        from ingestion_assets.zones.schema_records import SchemaRecords  # noqa: PLC0415

        return SchemaRecords.of_file(model, folder=folder or Path.cwd())
    if isinstance(model, type) and issubclass(model, pydantic.BaseModel):
        from ingestion_assets.zones.model_records import ModelRecords  # noqa: PLC0415

        return ModelRecords(model)
    if isinstance(model, type) and issubclass(model, msgspec.Struct):
        from ingestion_assets.zones.struct_records import StructRecords  # noqa: PLC0415

        return StructRecords(model)
    raise RecordTypeError(
        f"{model!r} is no type of records: name a pydantic model, a msgspec Struct or the path of a JSON Schema file"
    )
