"""Records as a polars frame, a column a field."""

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from ingestion_assets.zones.record_types import Column

if TYPE_CHECKING:
    import polars as pl


def frame_of(
    columns: Sequence[Column], values: Sequence[tuple[Any, ...]], *, decimal: "pl.DataType | None" = None
) -> "pl.DataFrame":
    """Ids and nested values are texts, timestamps in UTC, integers of 64 bits where that is enough. `decimal`: the type of decimals."""
    import polars as pl  # noqa: PLC0415

    types: dict[str, Any] = {
        "text": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean, "decimal": decimal,
        "timestamp": pl.Datetime("us", "UTC"), "date": pl.Date, "uuid": pl.String, "json": pl.String,
    }  # fmt: skip
    made = []
    for column, cells in cells_of(columns, values):
        try:
            made.append(pl.Series(column.name, cells, dtype=types[column.kind]))
        except (OverflowError, TypeError):  # an integer beyond 64 bits
            made.append(pl.Series(column.name, cells, dtype=pl.Int128))
    return pl.DataFrame(made)


def cells_of(
    columns: Sequence[Column], values: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[Column, list[Any]]]:
    """The values column by column."""
    turned = list(zip(*values, strict=True)) or [()] * len(columns)
    for column, cells in zip(columns, turned, strict=True):
        given: list[Any] = list(cells)
        if column.kind == "uuid":
            given = [None if one is None else str(one) for one in given]
        elif column.kind == "timestamp":
            given = [
                one.replace(tzinfo=UTC) if one is not None and one.tzinfo is None else one for one in given
            ]
        yield column, given
