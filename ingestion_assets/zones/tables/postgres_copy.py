"""Rows as COPY takes them: JSON that is CSV, too, which is written at several million values a second.

`["a","b \\"c\\"",1,null]` without its brackets is a line of CSV whose quotes are escaped by backslashes and whose NULL is `null`.
Only JSON's other escapes (`\\n`) have to be made characters again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec
from psycopg import sql

from ingestion_assets.zones.record_types import Column
from ingestion_assets.zones.tables.target import Stored

OPTIONS = sql.SQL("(FORMAT csv, QUOTE '\"', ESCAPE '\\', NULL 'null', ENCODING 'UTF8')")
_BIGINT = 2**63
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)")
_OTHER_ESCAPE = re.compile(rb'\\[^"\\]')
_CHARACTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"/": b"/"}
_encode_lines = msgspec.json.Encoder().encode_lines


def as_csv(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """The rows; there must be some. None of them holds the character NUL."""
    lines = _encode_lines(rows)
    text = lines[1:-2].replace(b"]\n[", b"\n") + b"\n"
    return _ESCAPE.sub(_character, text) if b"\\" in text and _OTHER_ESCAPE.search(text) else text


def _character(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) > 1:
        return chr(int(escaped[1:], 16)).encode()
    return _CHARACTERS.get(escaped, match[0])


def unstorable(columns: Sequence[Column], values: Sequence[tuple[Any, ...]]) -> Mapping[int, Stored]:
    """The rows that PostgreSQL is not to be asked about, as a column of its type cannot hold a value.

    Looks at whole columns, and at single values only where there is such a one.
    """
    found: dict[int, Stored] = {}
    for column, cells in zip(columns, zip(*values, strict=True), strict=False):
        check = _CHECKS.get(column.kind)
        if check is None or check.passes(
            [cell for cell in cells if cell is not None] if column.nullable else cells
        ):
            continue
        for index, cell in enumerate(cells):
            if cell is not None and not check.passes((cell,)):
                reason = f"{column.name} {check.reason}"
                found.setdefault(index, Stored("rejected", code=check.code, reason=reason))
    return found


@dataclass(frozen=True, slots=True)
class _Check:
    passes: Callable[[Sequence[Any]], bool]
    code: str
    reason: str


def _in_64_bits(cells: Sequence[int]) -> bool:
    return not cells or (min(cells) >= -_BIGINT and max(cells) < _BIGINT)


_CHECKS: Mapping[str, _Check] = {
    "integer": _Check(_in_64_bits, "out_of_range", "is a number beyond 64 bits"),
    "number": _Check(lambda cells: all(map(isfinite, cells)), "invalid_value", "is no finite number"),
    "decimal": _Check(
        lambda cells: all(map(Decimal.is_finite, cells)), "invalid_value", "is no finite number"
    ),
    "text": _Check(
        lambda cells: "\0" not in "".join(cells),
        "invalid_value",
        "holds the character NUL, which PostgreSQL cannot store",
    ),
}
