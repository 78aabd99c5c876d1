"""Rows as COPY takes them: JSON that is CSV, too, which is written at several million values a second.

`["a","b \\"c\\"",1,null]` without its brackets is a line of CSV whose quotes are escaped by backslashes and whose NULL is `null`.
Only JSON's other escapes (`\\n`) have to be made characters again.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
from psycopg import sql

from ingestion_assets.zones.records import Column
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
    return _ESCAPE.sub(_character, text) if _OTHER_ESCAPE.search(text) else text


def _character(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) > 1:
        return chr(int(escaped[1:], 16)).encode()
    return _CHARACTERS.get(escaped, match[0])


def unstorable(columns: Sequence[Column], values: Sequence[tuple[Any, ...]]) -> Mapping[int, Stored]:
    """The rows that PostgreSQL is not to be asked about, as a column of its type cannot hold a value; columns at once."""
    found: dict[int, Stored] = {}
    if not values:
        return found
    for column, cells in zip(columns, zip(*values, strict=True), strict=True):
        bad: Iterable[int] = ()
        code, reason = "invalid_value", "is no finite number"
        if column.kind == "integer":
            bad = _where(cells, lambda cell: not -_BIGINT <= cell < _BIGINT)
            code, reason = "out_of_range", "is a number beyond 64 bits"
        elif column.kind == "number":
            bad = _where(cells, lambda cell: not isfinite(cell))
        elif column.kind == "decimal":
            bad = _where(cells, lambda cell: not cell.is_finite())
        elif column.kind == "text":
            bad = _where(cells, lambda cell: "\0" in cell)
            reason = "holds the character NUL, which PostgreSQL cannot store"
        for index in bad:
            found.setdefault(index, Stored("rejected", code=code, reason=f"{column.name} {reason}"))
    return found


def _where(cells: Sequence[Any], is_bad: Any) -> list[int]:
    return [index for index, cell in enumerate(cells) if cell is not None and is_bad(cell)]
