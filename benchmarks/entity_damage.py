"""What becomes of a file with 1 % of wrong lines: rows lost, misread, let in, and wrong lines that were named."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import psycopg
from measuring import ROOT
from psycopg import sql

sys.path.insert(0, str(ROOT))

from ingestion_assets.entities.definition import EntityField
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.tpch import PLANTED, with_planted

ORDER = TPCH.by_name["Order"]
BYTES = frozenset({"invalid_character", "not_utf8"})
Row = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """Of the good rows: how many are not there, and how many are there with other values. Of the wrong ones: let in."""

    lost: int
    misread: int
    let_in: int


def wrong_kinds(*, odd_bytes: bool) -> list[bytes]:
    """Lines of orders that are wrong, without prefix; with or without NUL and what is not UTF-8 among them."""
    return [
        line.removeprefix(b"O|")
        for code, _, _, line in PLANTED
        if line.startswith(b"O|") and (odd_bytes or code not in BYTES)
    ]


def poisoned(good: Sequence[bytes], *, odd_bytes: bool) -> list[bytes]:
    """Lines of orders with 1 % of wrong ones among them."""
    return with_planted(good, wrong_kinds(odd_bytes=odd_bytes), seed=8)


def rows_of(lines: Iterable[bytes]) -> dict[str, Row]:
    """Lines of orders as rows, by key."""
    rows = (line.rstrip(b"\n").removesuffix(b"|").decode().split("|") for line in lines)
    return {row[0]: _row(row) for row in rows}


def damage(database: "psycopg.Connection[Any]", table: sql.Identifier, good: dict[str, Row]) -> Damage:
    """Compare a table with the rows that it should have; its first columns are those of an order."""
    try:
        stored = database.execute(sql.SQL("SELECT * FROM {}").format(table)).fetchall()
    except psycopg.errors.UndefinedTable:
        stored = []
    found: set[str] = set()
    misread = let_in = 0
    for values in stored:
        row = _row(values[: len(ORDER.fields)])
        key = row[0] or ""
        if key not in good:
            let_in += 1
        else:
            found.add(key)
            misread += row != good[key]
    return Damage(lost=len(good) - len(found), misread=misread, let_in=let_in)


def _row(values: Sequence[Any]) -> Row:
    return tuple(_text(field, value) for field, value in zip(ORDER.fields, values, strict=True))


def _text(field: EntityField, value: Any) -> str | None:
    if value is None or field.type != "decimal":
        return None if value is None else str(value)
    try:
        return format(Decimal(value), ".2f")
    except InvalidOperation:  # a loader that made the column a text
        return str(value)


def write(folder: Path, name: str, lines: Iterable[bytes]) -> Path:
    """The lines as a file."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"".join(lines))
    return folder / name
