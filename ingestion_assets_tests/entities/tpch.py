"""TPC-H as messages, made by a generator that nobody here wrote, and as DuckDB reads the same files."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb

SCALE = "0.1" if os.environ.get("INGESTION_LONG_TESTS") == "1" else "0.01"
FILES = {"Customer": "customer", "Product": "part", "Order": "orders", "OrderLineItem": "lineitem"}
PREFIXES = {"Customer": b"C", "Product": b"P", "Order": b"O", "OrderLineItem": b"L"}


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
