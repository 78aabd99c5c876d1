"""TPC-H in, from request to committed rows, against bare COPY of the same rows into the same tables, in one run.

Beside it: dlt (Arrow and rows) and sling load the same files into the same server, then one with 1 % of wrong lines: rows
lost, misread, let in, by each. Also: what the tenth batch costs against the first, a single message, 200 at once, and the
front door's peak memory, over a stream of scale factor 1 where there is time for it (not `--quick`).

Blanks at the ends of a field belong to the value: a loader that takes them away has misread the row.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
from clients import Answer, one_by_one, request, send_all
from entity_damage import ORDER, damage, poisoned, rows_of, write
from entity_peers import SCHEMA, Load, peers
from measuring import ROOT, Targets, arguments, bench_stack, console, median, quantile, table, temporary_home
from psycopg import sql

sys.path.insert(0, str(ROOT))

from ingestion_assets.entities.entity_tables import table_of
from ingestion_assets.entities.table_changes import ensure_tables
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.tpch import FILES, PREFIXES, generate
from ingestion_assets_tests.stacks import RunningStack

TEXT = {"Content-Type": "text/plain"}
CUSTOMER = "C|%d|name|lane|3|11-719|-7.10|BUILDING|comment"
GROWTH_ROWS = 100_000
PIECE = 256 * 1024
Database = psycopg.Connection[Any]


def files_in(folder: Path) -> dict[str, Path]:
    """The generated file of each entity, referenced entities first."""
    return {entity.entity: folder / f"{FILES[entity.entity]}.tbl" for entity in TPCH.entities}


def messages(files: dict[str, Path]) -> Iterator[bytes]:
    """The files' lines as messages, some at a time."""
    for name, file in files.items():
        prefix = PREFIXES[name] + b"|"
        with file.open("rb") as source:
            while lines := source.readlines(PIECE):
                yield prefix + prefix.join(lines)


def empty(database: Database) -> None:
    """Remove all rows and let the server settle."""
    tables = sql.SQL(", ").join(table_of(one) for one in TPCH.entities)
    database.execute(sql.SQL("TRUNCATE {}").format(tables))
    database.execute("CHECKPOINT")


def bare_copy(database: Database, files: dict[str, Path]) -> float:
    """Seconds to COPY the files into the tables, keys and references in place."""
    started = time.monotonic()
    for entity in TPCH.entities:
        columns = sql.SQL(", ").join(map(sql.Identifier, entity.names))
        rows = files[entity.entity].read_bytes().replace(b"|\n", b"\n")
        statement = sql.SQL("COPY {} ({}) FROM STDIN (DELIMITER '|')").format(table_of(entity), columns)
        with database.transaction(), database.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(rows)
    return time.monotonic() - started


def by_stream(client: httpx.Client, lines: Iterable[bytes]) -> tuple[float, dict[str, Any]]:
    """Seconds from request to the last event, and that event."""
    started = time.monotonic()
    last = b""
    with client.stream("POST", "/ingest/stream", content=iter(lines), headers=TEXT) as answer:
        for event in answer.iter_lines():
            last = event.encode() if event.startswith("data: ") else last
    said = json.loads(last.removeprefix(b"data: "))
    assert said["type"] == "total", said
    return time.monotonic() - started, said


def by_peer(load: Load, database: Database, stack: RunningStack, files: dict[str, Path]) -> tuple[float, str]:
    """Seconds that a peer takes for the files, and what it said of lines that it could not take."""
    database.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    database.execute(f"CREATE SCHEMA {SCHEMA}")
    database.execute("CHECKPOINT")
    started = time.monotonic()
    said = load(stack.environment["INGESTION_POSTGRES_URL"], files)
    return time.monotonic() - started, said


def speed(
    client: httpx.Client,
    database: Database,
    stack: RunningStack,
    folder: Path,
    *,
    turns: int,
    targets: Targets,
) -> None:
    """Rows a second, by us, by bare COPY, by the peers."""
    files = files_in(folder)
    floors, ours, total = [], [], 0
    for _ in range(turns):
        empty(database)
        floors.append(bare_copy(database, files))
        empty(database)
        seconds, last = by_stream(client, messages(files))
        assert last["failed"] == 0, last
        ours.append(seconds)
        total = last["total"]
    taken = {
        "bare COPY, with keys and references": statistics.fmean(floors),
        "stream, request to last event, with keys and references": statistics.fmean(ours),
    }
    for name, load in peers().items():
        taken[f"{name}, without keys and references"], said = by_peer(load, database, stack, files)
        assert not said, said
    floor = statistics.fmean(floors)
    table(
        f"{total:,} rows of TPC-H", ("way", "seconds", "rows/s", "x COPY"),
        [(way, f"{one:.2f}", f"{total / one:,.0f}", f"{one / floor:.2f}") for way, one in taken.items()],
    )  # fmt: skip
    if turns > 1:  # small files say more of the time that a run takes to start
        targets.at_most("stream against bare COPY", statistics.fmean(ours) / floor, 2, "x")


def wrong_lines(
    client: httpx.Client, database: Database, stack: RunningStack, folder: Path, *, targets: Targets
) -> None:
    """A file of orders with 1 % of wrong lines, by us and by the peers."""
    files = files_in(folder)
    good_lines = files["Order"].read_bytes().splitlines(keepends=True)
    good = rows_of(good_lines)
    shown: list[tuple[str, ...]] = []
    kinds = {
        "nothing wrong": good_lines,
        "wrong values": poisoned(good_lines, odd_bytes=False),
        "odd bytes too": poisoned(good_lines, odd_bytes=True),
    }
    for what, lines in kinds.items():
        file = write(folder / "poisoned", "orders.tbl", lines)
        empty(database)
        _, last = by_stream(client, messages({"Customer": files["Customer"], "Order": file}))
        ours = damage(database, table_of(ORDER), good)
        planted = len(lines) - len(good_lines)
        shown.append(
            (
                f"ours, {what}",
                str(ours.lost),
                str(ours.misread),
                str(ours.let_in),
                f"{last['failed']} of {planted}",
            )
        )
        wrong = ours.lost + ours.misread + ours.let_in + planted - last["failed"]
        targets.at_most(f"rows that we lose, misread, let in or leave unnamed, {what}", wrong, 0)
        for name, load in peers().items():
            _, said = by_peer(load, database, stack, {"Order": file})
            theirs = damage(database, sql.Identifier(SCHEMA, ORDER.table), good)
            named = f"0 of {planted}" + (f" ({said[:50]})" if said else "")
            shown.append(
                (f"{name}, {what}", str(theirs.lost), str(theirs.misread), str(theirs.let_in), named)
            )
    table(
        f"{len(good):,} orders with 1 % of wrong lines among them",
        ("way", "lost", "misread", "let in", "named"),
        shown,
    )


def growth(client: httpx.Client, rows: int, *, targets: Targets) -> None:
    """Ten batches of new rows each."""
    taken = []
    for number in range(10):
        first = 50_000_000 + number * rows
        body = "\n".join(CUSTOMER % key for key in range(first, first + rows))
        started = time.monotonic()
        answer = client.post("/ingest/batch", content=body, headers=TEXT | {"Prefer": "wait=120"})
        assert answer.status_code == 200, answer.text[:500]
        taken.append(time.monotonic() - started)
    table(
        f"Ten batches of {rows:,}",
        ("batch", "seconds"),
        [(str(n), f"{one:.2f}") for n, one in enumerate(taken, 1)],
    )
    if rows == GROWTH_ROWS:
        targets.at_most("tenth batch against the first", taken[-1] / taken[0], 1.2, "x")


def single_messages(stack: RunningStack, *, count: int, targets: Targets) -> None:
    """From request to answer: one after another, and 200 at once."""

    def requests(first: int, number: int) -> list[bytes]:
        bodies = ((CUSTOMER % key).encode() for key in range(first, first + number))
        return [
            request(stack.url, body, token=stack.admin_token, path="/ingest/message", media_type="text/plain")
            for body in bodies
        ]

    def seconds(answers: list[Answer]) -> list[float]:
        assert {one.status for one in answers} == {200}, answers[0].body
        return [one.seconds for one in answers]

    alone = seconds(one_by_one(stack.url, requests(90_000_000, count)))
    together = seconds(asyncio.run(send_all(stack.url, requests(91_000_000, 200), connections=200)))
    table(
        "Single messages, request to answer", ("", "p50", "p95", "slowest"),
        [
            (name, *(f"{quantile(times, share):.2f}" for share in (0.5, 0.95, 1)))
            for name, times in (("one after another", alone), ("200 at once", together))
        ],
    )  # fmt: skip
    targets.at_most("single message, p50", median(alone), 1.5, " s")
    targets.at_most("200 messages at once, slowest", max(together), 5, " s")


def peak_mb(pid: int) -> float:
    """The most memory that a process has had resident, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(one for one in status.splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    scale = "0.01" if options.quick else "0.1"
    targets = Targets()
    if not peers():
        console.print("No peers: install them with `pip install --constraint constraints.txt '.[bench]'`")
    with temporary_home() as folder, bench_stack() as stack:
        generate(folder, scale=scale)
        with (
            httpx.Client(
                base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=3600
            ) as client,
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
            client.post("/ingest/message", content=CUSTOMER % 0, headers=TEXT)
            speed(client, database, stack, folder, turns=1 if options.quick else 2, targets=targets)
            wrong_lines(client, database, stack, folder, targets=targets)
            growth(client, GROWTH_ROWS // (10 if options.quick else 1), targets=targets)
            single_messages(stack, count=10 if options.quick else 30, targets=targets)
            if not options.quick:
                empty(database)
                generate(folder, scale="1")
                seconds, last = by_stream(client, messages(files_in(folder)))
                console.print(
                    f"\nscale factor 1: {last['total']:,} rows in {seconds:.0f} s, {last['total'] / seconds:,.0f} rows/s"
                )
                targets.at_most("scale factor 1, rows that failed", last["failed"], 0)
            targets.at_most("front door, peak memory", peak_mb(stack.pid_of("frontdoor")), 300, " MB")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
