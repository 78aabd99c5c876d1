"""Shapes of tables and rows, as short to write as tests want them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ingestion_assets.zones.record_types import Column, Kind
from ingestion_assets.zones.tables.target import Rows, Shape


def shape(*, key: str | None = "id", version: str | None = None, **columns: Kind) -> Shape:
    """A table of these columns, in which names that end with `_` stand for optional fields."""
    made = tuple(
        Column(name.rstrip("_"), kind, nullable=name.endswith("_")) for name, kind in columns.items()
    )
    return Shape(made, (key,) if key else (), version)


def rows(receipt: int, *values: tuple[Any, ...], first: int = 0) -> Rows:
    """The rows of a payload; those with a greater number were accepted later."""
    return Rows(values, [UUID(int=receipt)] * len(values), range(first, first + len(values)))


def statuses(stored: Sequence[Any]) -> list[str]:
    return [one.status for one in stored]
