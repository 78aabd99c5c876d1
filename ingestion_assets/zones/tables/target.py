"""What all tables share: the words for what is stored, and the law by which it is.

A record whose key is not there is stored. One whose key is there is a duplicate: the record that was accepted first stays, by the
payload's id and its position. With a `version` the greatest stays, of equal ones the first. Without a key each record is a row, whose
key is its place (`_receipt`, `_position`). So a table depends on the records alone, however they were cut, repeated or interleaved.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from ingestion_assets.zones.record_types import Column, Kind

PLACE = ("_receipt", "_position")
"""The columns that say where a row comes from."""
KEY_KINDS: tuple[Kind, ...] = ("text", "integer", "number", "decimal", "boolean", "timestamp", "date", "uuid")


class TableRefusedError(Exception):
    """The table cannot follow the zone; each sentence says why and what to do."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = tuple(sentences)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table holds: the record's columns, those of the key, and the one that says which of two is newer."""

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    version: str | None = None


@dataclass(slots=True)
class Rows:
    """Rows to store, in order of acceptance: values in the order of `Shape.columns`, and where each comes from."""

    values: Sequence[tuple[Any, ...]]
    receipts: Sequence[UUID]
    positions: Sequence[int]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a row. `by`: the receipt whose record has its key, of a duplicate or superseded one."""

    status: Literal["stored", "updated", "duplicate", "superseded", "rejected"]
    by: UUID | None = None
    code: str | None = None
    reason: str | None = None


STORED = Stored("stored")


class Table(Protocol):
    """A table of a zone."""

    @property
    def shape(self) -> Shape: ...

    def prepare(self) -> None:
        """Make the table, or have it follow the shape. Raises `TableRefusedError`, and then changed nothing."""
        ...

    def store(self, parts: Iterable[Rows]) -> list[Stored]:
        """Store rows, which come in parts; what became of each, in order. What the store refuses of them is rejected alone.

        Where it raises, some may be stored; to be repeated then with the same rows.
        """
        ...


def check_shape(shape: Shape, *, kinds_of_keys: Sequence[Kind] = KEY_KINDS) -> None:
    """Raises `TableRefusedError` for what no table can be made of."""
    by_name = {column.name: column for column in shape.columns}
    said = [
        f"{name} is a name that tables have themselves: call the field otherwise"
        for name in by_name
        if name in PLACE
    ]
    for name in (*shape.key, *([shape.version] if shape.version else [])):
        what = "version" if name == shape.version else "key"
        column = by_name.get(name)
        if column is None:
            said.append(f"the {what} {name} is no field of the records, which are {', '.join(by_name)}")
        elif column.nullable:
            said.append(f"the {what} {name} may be missing in a record: make it a required field")
        elif column.kind not in kinds_of_keys:
            said.append(f"the {what} {name} is of kind {column.kind}, which cannot be compared")
    if shape.version and not shape.key:
        said.append("a version says which record of a key is newer: name a key, too")
    if said:
        raise TableRefusedError(said)
