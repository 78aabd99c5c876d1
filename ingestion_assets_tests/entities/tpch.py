"""TPC-H as messages, made by a generator that nobody here wrote, and as DuckDB reads the same files."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

SCALE = "0.1" if os.environ.get("INGESTION_LONG_TESTS") == "1" else "0.01"
FILES = {"Customer": "customer", "Product": "part", "Order": "orders", "OrderLineItem": "lineitem"}
PREFIXES = {"Customer": b"C", "Product": b"P", "Order": b"O", "OrderLineItem": b"L"}

ORDER = b"O|%d|%d|O|123.45|1996-01-02|5-LOW|Clerk#000000951|0|note\n"
PLANTED: list[tuple[str, str | None, str | None, bytes]] = [
    ("not_an_integer", "Order", "customer_key", ORDER.replace(b"%d|%d", b"%d|abc")),
    ("missing_value", "Order", "order_date", ORDER.replace(b"%d|%d", b"%d|1").replace(b"1996-01-02", b"")),
    ("not_a_decimal", "Order", "total_price", ORDER.replace(b"%d|%d", b"%d|1").replace(b"123.45", b"12,5")),
    ("too_precise", "Order", "total_price", ORDER.replace(b"%d|%d", b"%d|1").replace(b"123.45", b"1.234")),
    ("out_of_range", "Order", "total_price", ORDER.replace(b"%d|%d", b"%d|1").replace(b"123.45", b"99999999999999.00")),
    ("not_a_date", "Order", "order_date", ORDER.replace(b"%d|%d", b"%d|1").replace(b"1996-01-02", b"1996-02-30")),
    ("too_long", "Order", "order_priority", ORDER.replace(b"%d|%d", b"%d|1").replace(b"5-LOW", b"x" * 16)),
    ("invalid_character", "Order", "comment", ORDER.replace(b"%d|%d", b"%d|1").replace(b"note", b"n\0te")),
    ("too_few_fields", "Order", None, b"O|%d|1|O\n"),
    ("too_many_fields", "Order", None, ORDER.replace(b"%d|%d", b"%d|1").replace(b"note", b"note|x|y")),
    ("unknown_prefix", None, None, b"X|%d|1\n"),
    ("not_utf8", None, None, ORDER.replace(b"%d|%d", b"%d|1").replace(b"note", b"n\xffte")),
    ("missing_reference", "Order", "customer_key", ORDER.replace(b"%d|%d", b"%d|9999999")),
]  # fmt: skip
"""Wrong lines, each of another kind: code, entity, field, and the line with a place for its key."""


def generate(folder: Path, *, scale: str = SCALE) -> Path:
    """The four `.tbl` files in the folder."""
    program = Path(sys.executable).with_name("tpchgen-cli")
    command = (
        str(program),
        "-s",
        scale,
        "-T",
        "orders,lineitem,customer,part",
        "-o",
        str(folder),
        "--overwrite",
        "-q",
    )
    subprocess.run(command, check=True)
    return folder


def messages(folder: Path, entity: str) -> list[bytes]:
    """The lines of an entity's file as messages."""
    lines = (folder / f"{FILES[entity]}.tbl").read_bytes().splitlines(keepends=True)
    return [PREFIXES[entity] + b"|" + line for line in lines]


def shuffled_entities(folder: Path, *, seed: int) -> bytes:
    """All messages, in runs of one entity, the runs in random order: most lines come before what they reference."""
    rng = random.Random(seed)
    runs: list[bytes] = []
    for entity in FILES:
        lines = messages(folder, entity)
        size = max(1, len(lines) // 4)
        runs += [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    rng.shuffle(runs)
    return b"".join(runs)


def as_duckdb_reads(folder: Path, entity: str, types: dict[str, str]) -> list[tuple[Any, ...]]:
    """The rows of an entity's file, ordered by all columns."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in (types | {"_end": "VARCHAR"}).items())
    source = folder / f"{FILES[entity]}.tbl"
    query = f"""
        SELECT {", ".join(types)} FROM read_csv('{source}', delim='|', header=false, quote='', escape='',
            nullstr='\\N', columns={{{columns}}}) ORDER BY ALL
    """
    return duckdb.sql(query).fetchall()


def with_planted(good: Sequence[bytes], wrong: Sequence[bytes], *, seed: int) -> list[bytes]:
    """The good lines with 1 % of wrong ones among them, of each kind in turn; those have keys from 10,000,000 on."""
    rng = random.Random(seed)
    lines = list(good)
    for number in range(len(good) // 100):
        lines.insert(rng.randrange(len(lines)), wrong[number % len(wrong)] % (10_000_000 + number))
    return lines
