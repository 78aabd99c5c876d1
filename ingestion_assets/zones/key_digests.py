"""What stands for a key of a record that was handed over: a digest, the same for values that a table takes for the same.

Two writings of one number (`1.0`, `1.00`) and of one instant (in two zones, or in none, which is UTC) are one key. Keys were once
remembered as they are written, and count for ever: so each is looked for as it is written, too.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

from ingestion_assets.zones.record_types import Column

Digests = Callable[[tuple[Any, ...]], tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode
_SPELLED_OUT = 40


def digests_of(columns: Sequence[Column], key: Sequence[str]) -> Digests:
    """Gives of a record's values the digest of its key, and that of the key as it is written, which is mostly the same."""
    indexes = [[column.name for column in columns].index(name) for name in key]
    same = [_SAME.get(columns[index].kind) for index in indexes]

    def digests(values: tuple[Any, ...]) -> tuple[bytes, bytes]:
        written = [values[index] for index in indexes]
        known = _digest(written)
        if not any(same):
            return known, known
        one = [value if make is None else make(value) for make, value in zip(same, written, strict=True)]
        return _digest(one), known

    return digests


def _digest(key: Sequence[Any]) -> bytes:
    return blake2b(_encode(key), digest_size=20).digest()


def _number(value: Decimal | None) -> Decimal | None:
    """Without zeros at the end of what is behind the point, and spelled out where it ends before the point."""
    if value is None or not value.is_finite():
        return value
    sign, digits, exponent = value.as_tuple()
    if not value:
        return Decimal(0)
    kept = len(digits)
    while not digits[kept - 1]:
        kept -= 1
    exponent = int(exponent) + len(digits) - kept
    zeros = exponent if 0 < exponent <= _SPELLED_OUT else 0
    return Decimal((sign, digits[:kept] + (0,) * zeros, exponent - zeros))


def _float(value: float | None) -> float | None:
    return None if value is None else value + 0.0  # -0.0 is 0.0


def _instant(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:  # at an end of all time
        return value


_SAME: dict[str, Callable[[Any], Any]] = {"decimal": _number, "number": _float, "timestamp": _instant}
