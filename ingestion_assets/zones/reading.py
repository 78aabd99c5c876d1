"""Reading many records at once, and one by one only where that fails: the loop that is the same for all types of records."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ingestion_assets.landing.json_text import replace_lone_surrogates
from ingestion_assets.zones.record_types import Refusal

_check = msgspec.json.Decoder(msgspec.Raw).decode
_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def read_each(
    records: Sequence[bytes],
    *,
    many: Callable[[bytes], list[Any]],
    one: Callable[[bytes], Any],
    refusal: Callable[[Exception], Refusal],
    texts: bool,
) -> tuple[Sequence[int], list[Any], dict[int, Refusal]]:
    """What is made of the good records, their positions, and why the others are refused.

    `many` reads an array of records; it and `one` raise `ValueError` (which those of msgspec and pydantic are), of which `refusal` is told.
    """
    refused: dict[int, Refusal] = {}
    for position, record in enumerate(records):
        try:
            _check(record)  # first: two broken lines may be an array when put together
        except (msgspec.DecodeError, RecursionError) as error:
            refused[position] = _not_json(record, error)
        if texts and record.startswith(b"["):
            reason = "the row has not as many fields as the first line names"
            refused[position] = Refusal("wrong_fields", "", reason)
    positions: Sequence[int] = range(len(records))
    if refused:
        positions = [position for position in positions if position not in refused]
    try:
        return positions, many(array_of(records[position] for position in positions)), refused
    except (ValueError, RecursionError):
        return _one_by_one(records, positions, one, refusal, refused)


def _one_by_one(
    records: Sequence[bytes],
    positions: Sequence[int],
    one: Callable[[bytes], Any],
    refusal: Callable[[Exception], Refusal],
    refused: dict[int, Refusal],
) -> tuple[Sequence[int], list[Any], dict[int, Refusal]]:
    good: list[int] = []
    made: list[Any] = []
    for position in positions:
        try:
            made.append(one(records[position]))
            good.append(position)
        except (ValueError, RecursionError) as error:
            refused[position] = refusal(error)
    return good, made, refused


def array_of(records: Iterable[bytes]) -> bytes:
    """The records as one JSON array."""
    return b"[" + b",".join(records) + b"]"


def _not_json(record: bytes, error: Exception) -> Refusal:
    if isinstance(error, RecursionError):
        return Refusal("not_json", "", "the record is nested too deeply")
    if replace_lone_surrogates(record) != record:
        return Refusal("not_json", "", "the record holds half a surrogate pair, which is no text")
    return Refusal("not_json", "", f"the record is no JSON: {error}")


class Unknown:
    """Finds fields that a type has no place for. Those that were found are known from then on, so that looking stays cheap."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self._told: set[str] = set()
        self._passes = self._decoder()

    def in_records(self, records: Iterable[bytes]) -> set[str]:
        """The unknown fields of records that are objects; those known for longest among them are given each time too."""
        array = array_of(records)
        try:
            self._passes(array)
        except msgspec.ValidationError:
            found = {name for one in _members(array) for name in one}
            new = found - self._known - self._told
            if len(self._told) + len(new) <= _MOST_REMEMBERED:
                self._told |= new
                self._passes = self._decoder()
            return new
        return set()

    def _decoder(self) -> Callable[[bytes], Any]:
        names = sorted(self._known | self._told)
        fields = [(f"f{place}", object, None) for place in range(len(names))]
        rename = {f"f{place}": name for place, name in enumerate(names)}
        struct = msgspec.defstruct("Known", fields, rename=rename, forbid_unknown_fields=True, gc=False)
        return msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]


_MOST_REMEMBERED = 1000


def rows_of(
    instances: Sequence[Any],
    values: Callable[[Any], tuple[Any, ...]],
    converts: Sequence[Callable[[Any], Any] | None],
) -> list[tuple[Any, ...]]:
    """The values of the columns of each instance."""
    rows = list(map(values, instances))
    if not rows or not any(converts):
        return rows
    columns: list[Iterable[Any]] = [
        column if convert is None else map(convert, column)
        for column, convert in zip(zip(*rows, strict=True), converts, strict=True)
    ]
    return list(zip(*columns, strict=True))
