"""What a decorated function is handed, and what it may say of single records."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from ingestion_assets.zones.frames import cells_of, frame_of
from ingestion_assets.zones.record_types import Column

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Record = TypeVar("Record")

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LONGEST_REASON = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decorated function says of a record, by its index in the batch. Records of which nothing is said are stored."""

    index: int
    code: str | None = None
    reason: str | None = None

    @classmethod
    def reject(cls, index: int, code: str, reason: str) -> "Outcome":
        """The record is not taken: a stable code such as `no_such_page`, and a sentence without content.

        Raises `ValueError` for what is no such code.
        """
        if not _CODE.fullmatch(code):
            raise ValueError("a code is of lower-case letters, digits and _, and at most 64 long")
        return cls(index, code, reason[:_LONGEST_REASON])

    @classmethod
    def stored(cls, index: int) -> "Outcome":
        """The record is stored, as it is where nothing is said."""
        return cls(index)


class Batch(Generic[Record]):
    """The records that a decorated function is handed: each valid, in order of acceptance, of as many payloads as fit together.

    `receipts` and `positions` say where each comes from: the payload's receipt, and its place in it from 0.
    """

    def __init__(
        self,
        *,
        columns: Sequence[Column],
        records: Sequence[Record],
        values: Sequence[tuple[Any, ...]],
        receipts: Sequence[UUID],
        positions: Sequence[int],
    ) -> None:
        self.records = records
        self.receipts = receipts
        self.positions = positions
        self._columns = columns
        self._values = values

    def __len__(self) -> int:
        return len(self.records)

    def frame(self) -> "pl.DataFrame":
        """The records as a polars frame, a column a field: ids and nested values as texts, timestamps in UTC."""
        return frame_of(self._columns, self._values)

    def pandas(self) -> "pd.DataFrame":
        """The records as a pandas frame, with nullable types where a field is optional."""
        import pandas as pd  # noqa: PLC0415

        required = {"integer": "int64", "number": "float64", "boolean": "bool"}
        optional = {"integer": "Int64", "number": "Float64", "boolean": "boolean"}

        def typed(column: Column, cells: list[Any]) -> Any:
            if column.kind == "timestamp":
                return pd.to_datetime(pd.Series(cells, dtype="object"), utc=True)
            kinds = optional if column.nullable else required
            try:
                return pd.Series(cells, dtype=kinds.get(column.kind, "object"))
            except OverflowError:  # an integer beyond 64 bits
                return pd.Series(cells, dtype="object")

        return pd.DataFrame(
            {column.name: typed(column, cells) for column, cells in cells_of(self._columns, self._values)}
        )


Function = Callable[[Batch[Any]], "Iterable[Outcome] | None"]
"""A decorated function. Gives outcomes for those records of which there is more to say than that they are stored."""
