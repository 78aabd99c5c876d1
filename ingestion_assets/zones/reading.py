"""Reading many records at once, and one by one only where that fails: the loop that is the same for all types of records."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ingestion_assets.landing.json_text import replace_lone_surrogates
from ingestion_assets.zones.record_types import Refusal

_check = msgspec.json.Decoder(msgspec.Raw).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
    """Finds fields that a type has no place for. Those that were told are known from then on, so that looking stays cheap.

    Looking refuses no record: what cannot be looked through has no unknown fields. Names with characters that msgspec cannot
    give to fields (`"`, `\\` and those below a blank) are left to the slow look, which each record that has one takes.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._most = len(self._known) + _MOST_REMEMBERED
        self._passes = _decoder_for(self._known)

    def in_records(self, records: Sequence[bytes]) -> set[str]:
        """The unknown fields of records that are objects, until they are told; those known for longest among them are given each time too."""
        try:
            self._passes(array_of(records))
        except (ValueError, RecursionError):
            return {name for record in records for name in field_names(record)} - self._known
        return set()

    def told(self, names: Iterable[str]) -> None:
        """Fields that somebody was told of: they are no longer found."""
        known = self._known.union(names)
        if len(known) <= self._most and known != self._known:
            self._passes = _decoder_for(known)
            self._known = known


def field_names(record: bytes) -> Iterable[str]:
    """The names of a record's fields; none of one that cannot be looked through."""
    try:
        return _members(record).keys()
    except (ValueError, RecursionError):
        return ()


def _decoder_for(names: Iterable[str]) -> Callable[[bytes], Any]:
    """Reads arrays of objects that have no fields but these, as far as a Struct can name them."""
    fit = sorted(name for name in names if not UNFIT_NAME.search(name))
    fields = [(f"f{place}", msgspec.Raw, msgspec.Raw(b"null")) for place in range(len(fit))]
    rename = {f"f{place}": name for place, name in enumerate(fit)}
    struct = msgspec.defstruct("Known", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]


_MOST_REMEMBERED = 1000
UNFIT_NAME = re.compile(r'["\\\x00-\x1f]')
"""What msgspec has in no name of a field."""


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
