"""TPC-H in, from request to committed rows, against bare COPY of the same rows into the same tables, in one run.

Also: what the tenth batch costs against the first, a single message, many at once, and the front door's memory.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
from measuring import (
    ROOT,
    Targets,
    arguments,
    bench_stack,
    median,
    quantile,
    resident_mb,
    table,
    temporary_home,
)
from psycopg import sql

sys.path.insert(0, str(ROOT))

from ingestion_assets.entities.tables import ensure_tables, table_of
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.tpch import FILES, PREFIXES, generate

TEXT = {"Content-Type": "text/plain"}
CUSTOMER = "C|%d|name|lane|3|11-719|-7.10|BUILDING|comment"
GROWTH_ROWS = 100_000


def empty(database: "psycopg.Connection[Any]") -> None:
    """Remove all rows and let the server settle."""
    tables = sql.SQL(", ").join(table_of(one) for one in TPCH.entities)
    database.execute(sql.SQL("TRUNCATE {}").format(tables))
    database.execute("CHECKPOINT")


def bare_copy(database: "psycopg.Connection[Any]", folder: Path) -> float:
    """Seconds to COPY the files into the tables, keys and references in place."""
    started = time.monotonic()
    for entity in TPCH.entities:
        columns = sql.SQL(", ").join(map(sql.Identifier, entity.names))
        rows = (folder / f"{FILES[entity.entity]}.tbl").read_bytes().replace(b"|\n", b"\n")
        statement = sql.SQL("COPY {} ({}) FROM STDIN (DELIMITER '|')").format(table_of(entity), columns)
        with database.transaction(), database.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(rows)
    return time.monotonic() - started


def by_stream(client: httpx.Client, files: list[Path]) -> tuple[float, dict[str, Any]]:
    """Seconds from request to the last event, and that event."""

    def chunks() -> Any:
        for file in files:
            with file.open("rb") as source:
                while piece := source.read(256 * 1024):
                    yield piece

    started = time.monotonic()
    answer = client.post("/ingest/stream", content=chunks(), headers=TEXT)
    last = json.loads(answer.text.rstrip().rpartition("data: ")[2])
    return time.monotonic() - started, last


def messages(folder: Path) -> list[Path]:
    """The files as messages, referenced entities first."""
    made = []
    for entity in TPCH.entities:
        source = folder / f"{FILES[entity.entity]}.tbl"
        target = folder / f"{entity.entity}.txt"
        prefix = PREFIXES[entity.entity] + b"|"
        target.write_bytes(b"".join(prefix + line for line in source.read_bytes().splitlines(keepends=True)))
        made.append(target)
    return made


def growth(client: httpx.Client, rows: int) -> list[float]:
    """Seconds of ten batches of new rows each."""
    taken = []
    for number in range(10):
        first = 50_000_000 + number * rows
        body = "\n".join(CUSTOMER % key for key in range(first, first + rows))
        started = time.monotonic()
        answer = client.post("/ingest/batch", content=body, headers=TEXT | {"Prefer": "wait=120"})
        assert answer.status_code == 200, answer.text[:500]
        taken.append(time.monotonic() - started)
    return taken


def latency(client: httpx.Client, *, count: int, at_once: int) -> list[float]:
    """Seconds from request to answer of single messages."""

    def one(key: int) -> float:
        started = time.monotonic()
        answer = client.post("/ingest/message", content=CUSTOMER % key, headers=TEXT)
        assert answer.status_code == 200, answer.text
        return time.monotonic() - started

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, range(90_000_000 + at_once * 1000, 90_000_000 + at_once * 1000 + count)))


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    scale = "0.01" if options.quick else "0.1"
    targets = Targets()
    with temporary_home() as folder, bench_stack() as stack:
        files = messages(generate(folder, scale=scale))
        limits = httpx.Limits(max_connections=256)
        headers = {"X-API-Key": stack.admin_token}
        with (
            httpx.Client(base_url=stack.url, headers=headers, timeout=900, limits=limits) as client,
            psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as database,
        ):
            with database.transaction():
                ensure_tables(database, TPCH)
            for entity in TPCH.entities:  # the floor says nothing of where a row comes from
                database.execute(
                    sql.SQL(
                        "ALTER TABLE {} ALTER _drop SET DEFAULT '00000000-0000-0000-0000-000000000000', "
                        "ALTER _record SET DEFAULT 0"
                    ).format(table_of(entity))
                )
            latency(client, count=3, at_once=1)
            floors, ours = [], []
            for _ in range(1 if options.quick else 2):
                empty(database)
                floors.append(bare_copy(database, folder))
                empty(database)
                seconds, last = by_stream(client, files)
                assert last["type"] == "total", last
                assert last["failed"] == 0, last
                ours.append(seconds)
            lines = last["total"]
            taken = growth(client, GROWTH_ROWS // (10 if options.quick else 1))
            alone = latency(client, count=10 if options.quick else 30, at_once=1)
            together = latency(client, count=200, at_once=200)
            memory = resident_mb(stack.pid_of("frontdoor"))
    floor, own = statistics.fmean(floors), statistics.fmean(ours)
    table(
        f"TPC-H, scale factor {scale}, {lines:,} rows",
        ("way", "seconds", "rows/s", "x COPY"),
        [
            ("bare COPY", f"{floor:.2f}", f"{lines / floor:,.0f}", "1.00"),
            ("stream, request to last event", f"{own:.2f}", f"{lines / own:,.0f}", f"{own / floor:.2f}"),
        ],
    )
    table("Ten batches", ("batch", "seconds"), [(str(n), f"{one:.2f}") for n, one in enumerate(taken, 1)])
    targets.at_most("stream against bare COPY", own / floor, 2, "x")
    targets.at_most("tenth batch against the first", taken[-1] / taken[0], 1.2, "x")
    targets.at_most("single message, p50", median(alone), 1.5, " s")
    targets.at_most("200 messages at once, slowest", quantile(together, 1), 5, " s")
    targets.at_most("front door", memory, 300, " MB")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
