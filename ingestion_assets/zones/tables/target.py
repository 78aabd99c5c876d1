"""What all tables share: the words for what is stored, and the law by which it is.

A record whose key is not there is stored. One whose key is there is a duplicate: the record that was accepted first stays, by the
payload's id and its position. With a `version` the greatest stays, of equal ones the first. Without a key each record is a row, whose
key is its place (`_receipt`, `_position`). So a table depends on the records alone, however they were cut, repeated or interleaved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from ingestion_assets.zones.records import Column


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


class Table(Protocol):
    """A table of a zone."""

    def prepare(self) -> None:
        """Make the table, or have it follow the shape. Raises `TableRefusedError`, and then changed nothing."""
        ...

    def store(self, rows: Rows) -> list[Stored]:
        """Store rows, all or (where it raises) none or some; what became of each. To be repeated with the same rows after a failure."""
        ...
