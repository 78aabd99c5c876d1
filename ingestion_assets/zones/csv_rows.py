"""Rows of CSV (RFC 4180) as records: JSON objects of texts, named by the first line."""

import csv
import io

import msgspec

from ingestion_assets.zones.unreadable import UnreadableError

_LONGEST_FIELD = 2**31 - 1
_encode = msgspec.json.Encoder().encode


def records_of_csv(text: bytes) -> list[bytes]:
    """The rows, without the fields that are empty. One with more or fewer fields than the first line is an array of its texts."""
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        decoded = text.decode().lstrip()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"the body is not UTF-8 at byte {error.start}") from None
    rows = csv.reader(io.StringIO(decoded, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(rows)]
        _check(names)
        width = len(names)
        return [
            _encode({name: field for name, field in zip(names, row, strict=True) if field})
            if len(row) == width
            else _encode(row)
            for row in rows
            if row
        ]
    except csv.Error as error:
        raise UnreadableError(f"the body is no CSV at line {rows.line_num}: {error}") from None


def _check(names: list[str]) -> None:
    if not all(names):
        raise UnreadableError(f"line 1 names no column at place {names.index('') + 1}")
    places: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        if (first := places.setdefault(name, place)) != place:
            raise UnreadableError(f"line 1 gives the columns at places {first} and {place} one name")
