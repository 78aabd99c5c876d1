"""Keys of records that were handed over, or stored in files: digests, the same for values that a table takes for the same.

Two writings of one number (`1.0`, `1.00`) and of one instant (in two zones, or in none, which is UTC) are one key. Keys were once
remembered as they are written, and count for ever: so each is looked for as it is written, too.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec
import sqlalchemy as sa

from ingestion_assets.zones import kept
from ingestion_assets.zones.kept import Place
from ingestion_assets.zones.record_types import Column

_encode = msgspec.json.Encoder().encode
_SPELLED_OUT = 40


class RememberedKeys:
    """The keys of records, `of` each of `values`; and by which record those are `taken` that are remembered of the zone.

    `digests` gives by key what it is remembered by.
    """

    def __init__(
        self,
        engine: sa.Engine,
        zone: str,
        *,
        columns: Sequence[Column],
        key: Sequence[str],
        values: Sequence[tuple[Any, ...]],
    ) -> None:
        indexes = [[column.name for column in columns].index(name) for name in key]
        written = [[of_one[index] for index in indexes] for of_one in values]
        same = [_SAME.get(columns[index].kind) for index in indexes]
        digests = [*map(_digest, written)]
        self.of = digests
        if any(same):
            self.of = [
                _digest(
                    [value if make is None else make(value) for make, value in zip(same, one, strict=True)]
                )
                for one in written
            ]
        one_of = dict(zip(digests, self.of, strict=True)) | {one: one for one in self.of}
        with engine.connect() as connection:
            remembered = kept.known_keys(connection, zone, list(one_of))
        self.taken: dict[bytes, Place] = {}
        self.digests: dict[bytes, list[bytes]] = defaultdict(list)
        for each, place in remembered.items():
            one = one_of[each]
            self.digests[one].append(each)
            self.taken[one] = min(self.taken.get(one, place), place)


def _digest(key: Sequence[Any]) -> bytes:
    return blake2b(_encode(key), digest_size=20).digest()


def _number(value: Decimal | None) -> Decimal | None:
    """Without zeros at the end of what is behind the point, and spelled out where it ends before the point."""
    if value is None or not value.is_finite():
        return value
    sign, digits, exponent = value.as_tuple()
    if not value:
        return Decimal(0)
    significant = len(digits)
    while not digits[significant - 1]:
        significant -= 1
    exponent = int(exponent) + len(digits) - significant
    zeros = exponent if 0 < exponent <= _SPELLED_OUT else 0
    return Decimal((sign, digits[:significant] + (0,) * zeros, exponent - zeros))


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
