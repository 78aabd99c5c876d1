"""How fast records of a drop zone become rows: frame, read, store; beside bare COPY of the same rows into a table with the same key.

    python benchmarks/zones_engine.py [--quick] [--profile FILE]

No HTTP, no Dagster: what a run does with payloads in memory, on the embedded PostgreSQL. Both are done in turns, each into an empty table.
The floor is one COPY a payload, committed, of text that was made beforehand.
"""

import cProfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import psutil
import psycopg
import pydantic
import sqlalchemy as sa
from measuring import Targets, arguments, median, table, temporary_home

from ingestion_assets.stores.embedded import embedded_postgres, free_port
from ingestion_assets.stores.postgres import driver_url
from ingestion_assets.zones.framing import frame
from ingestion_assets.zones.payloads import Payload, ReadSlice, Slice, ahead, slices, uncollected
from ingestion_assets.zones.record_types import RecordType, record_type
from ingestion_assets.zones.tables.postgres_copy import OPTIONS, as_csv
from ingestion_assets.zones.tables.postgres_table import PostgresTable
from ingestion_assets.zones.tables.target import Rows, Shape
from ingestion_assets_tests.servers import running

PAYLOAD = 10_000
LIMIT = 1.5


class Model(pydantic.BaseModel):
    id: str
    number: int
    name: str
    at: datetime
    paid: bool
    weight: float


class Struct(msgspec.Struct):
    id: str
    number: int
    name: str
    at: datetime
    paid: bool
    weight: float


def bodies(records: int) -> list[bytes]:
    """Payloads as arrays of records; their keys are as random as ids are."""
    random = Random(1)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = [
        {
            "id": f"{random.getrandbits(64):016x}", "number": number, "name": f"customer {number % 977}",
            "at": (start + timedelta(seconds=number)).isoformat(), "paid": number % 3 == 0, "weight": number / 7,
        }
        for number in range(records)
    ]  # fmt: skip
    return [msgspec.json.encode(made[at : at + PAYLOAD]) for at in range(0, records, PAYLOAD)]


def engine_run(table: PostgresTable, types: RecordType, payloads: Sequence[bytes]) -> None:
    """What a run does with payloads that it claimed together."""

    def read(one: Slice) -> ReadSlice:
        return ReadSlice(one, types.read(one.records))

    def parts() -> Iterator[Rows]:
        framed = (
            Payload(UUID(int=number), frame(body, media_type="application/json"), texts=False)
            for number, body in enumerate(payloads)
        )
        for one in ahead(map(read, slices(framed))):
            assert not one.read.refused
            yield Rows(one.read.values, one.receipts(), one.positions())

    with uncollected():
        stored = table.store(parts())
    assert {one.status for one in stored} == {"stored"}


def cpu_seconds() -> float:
    """Of this process and its children, PostgreSQL among them: tells more than the clock does on a machine that does other work, too."""
    used = time.process_time()
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system
    return used


def bare_copy(connection: "psycopg.Connection[Any]", texts: Sequence[bytes]) -> None:
    columns = ", ".join(Struct.__struct_fields__)
    statement = psycopg.sql.SQL("COPY shop.events ({}) FROM STDIN {}").format(
        psycopg.sql.SQL(columns), OPTIONS
    )  # type: ignore[arg-type]
    for text in texts:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(text)
        connection.commit()


def main() -> int:
    given = arguments(__doc__, profile="where to write a profile of one run of each model")
    records, rounds = (30_000, 3) if given.quick else (100_000, 7)
    payloads = bodies(records)
    values = [record_type(Struct).read(frame(one, media_type="application/json")).values for one in payloads]
    texts = [as_csv(one) for one in values]
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with (
        temporary_home() as home,
        running(embedded_postgres(folder=home / "postgres", port=free_port())) as server,
    ):
        engine = sa.create_engine(driver_url(server.url, "psycopg"))
        with psycopg.connect(server.url) as connection:

            def timed(name: str, run: Callable[[], object]) -> None:
                connection.execute("CHECKPOINT")
                connection.commit()
                started, used = time.perf_counter(), cpu_seconds()
                run()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
                cpu.setdefault(name, []).append(cpu_seconds() - used)

            def fresh(types: RecordType, *, ours: bool = True) -> PostgresTable:
                connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
                connection.commit()
                made = PostgresTable(engine, "shop.events", Shape(types.columns, ("id",)))
                made.prepare()
                if not ours:
                    connection.execute("ALTER TABLE shop.events DROP COLUMN _receipt, DROP COLUMN _position")
                    connection.commit()
                return made

            connection.autocommit = False
            kinds = {"pydantic model": record_type(Model), "msgspec Struct": record_type(Struct)}
            for _ in range(rounds):
                fresh(kinds["msgspec Struct"], ours=False)
                timed("bare COPY", lambda: bare_copy(connection, texts))
                for name, types in kinds.items():
                    made = fresh(types)
                    timed(name, lambda made=made, types=types: engine_run(made, types, payloads))
                made = PostgresTable(engine, "shop.events", Shape(types.columns, ("id",)))
                timed(
                    "all of it known already",
                    lambda made=made, types=types: engine_run(made, types, payloads),
                )
            if given.profile:
                for name, types in kinds.items():
                    made, profile = fresh(types), cProfile.Profile()
                    profile.runcall(engine_run, made, types, payloads)
                    profile.dump_stats(f"{given.profile}.{name.split()[0]}")
        engine.dispose()
    floor = median(seconds["bare COPY"])
    table(
        f"{records:,} records in payloads of {PAYLOAD:,}",
        ("", "seconds", "times bare COPY", "records/s", "CPU seconds", "times bare COPY's"),
        [
            (
                name,
                f"{median(each):.3f}",
                f"{median(each) / floor:.2f}",
                f"{records / median(each):,.0f}",
                f"{median(cpu[name]):.3f}",
                f"{median(cpu[name]) / median(cpu['bare COPY']):.2f}",
            )
            for name, each in seconds.items()
        ],
    )
    targets = Targets()
    for name in kinds:
        targets.at_most(
            f"{name}: framed, read and stored", median(seconds[name]) / floor, LIMIT, " times bare COPY"
        )
    return targets.verdict()


if __name__ == "__main__":
    raise SystemExit(main())
