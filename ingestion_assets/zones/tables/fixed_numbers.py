"""Numbers where a store has fixed sizes for them: 64 bits, and decimals of 38 digits, 18 of them behind the point."""

from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from ingestion_assets.zones.record_types import Column
from ingestion_assets.zones.tables.target import Stored

DIGITS, SCALE = 38, 18
_LARGEST = Decimal(10) ** (DIGITS - SCALE)
_BIGINT = 2**63


def misfit(columns: Sequence[Column], row: Sequence[Any]) -> Stored | None:
    """Why a row is rejected that has a number which does not fit: it is never rounded."""
    for column, value in zip(columns, row, strict=True):
        if value is None:
            continue
        if column.kind == "integer" and not -_BIGINT <= value < _BIGINT:
            return _rejected("out_of_range", f"{column.name} is a number beyond 64 bits")
        if column.kind == "number" and not isfinite(value):
            return _rejected("invalid_value", f"{column.name} is no finite number")
        if column.kind == "decimal":
            if not value.is_finite():
                return _rejected("invalid_value", f"{column.name} is no finite number")
            exponent = value.as_tuple().exponent
            if abs(value) >= _LARGEST or (isinstance(exponent, int) and exponent < -SCALE):
                said = f"{column.name} has more than {DIGITS - SCALE} digits before the point or {SCALE} behind it"
                return _rejected("out_of_range", said)
    return None


def _rejected(code: str, reason: str) -> Stored:
    return Stored("rejected", code=code, reason=reason)
