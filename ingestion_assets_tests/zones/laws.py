"""The law of all tables, in Python: what a table holds after records, however they were cut, and one way to cut them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ingestion_assets.zones.tables.target import Rows, Stored, Table

Record = tuple[Any, ...]
Held = dict[Any, tuple[Record, UUID, int]]


@dataclass(frozen=True)
class Kept:
    """A table and what is in it: values, receipt and position of each row."""

    table: Callable[[], Table]
    read: Callable[[], list[tuple[Record, UUID, int]]]


def expected(payloads: Sequence[Sequence[Record]], *, keyed: bool, versioned: bool) -> Held:
    """A dict is a table: the first record of a key, or the first of its greatest version (the second field)."""
    held: Held = {}
    for number, payload in enumerate(payloads):
        for position, record in enumerate(payload):
            key = record[0] if keyed else (number, position)
            if key not in held or (versioned and record[1] > held[key][0][1]):
                held[key] = (record, UUID(int=number), position)
    return held


def parts_of(payloads: Sequence[Sequence[Record]], numbers: Sequence[int], *, size: int) -> list[Rows]:
    """The records of some payloads as a run would have them, `size` at a time."""
    flat = [
        (record, UUID(int=number), position)
        for number in numbers
        for position, record in enumerate(payloads[number])
    ]
    cut = [flat[start : start + size] for start in range(0, len(flat), size)]
    return [Rows(*map(list, zip(*one, strict=True))) for one in cut]


def held_by(kept: Kept, *, keyed: bool) -> Held:
    return {
        (values[0] if keyed else (receipt.int, position)): (values, receipt, position)
        for values, receipt, position in kept.read()
    }


def statuses(stored: Sequence[Stored]) -> list[str]:
    return [one.status for one in stored]
