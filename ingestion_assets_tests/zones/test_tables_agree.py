"""One law for all tables: cut, repeat and kill as you like, they hold what a dict would hold."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import duckdb
import msgspec
import obstore
import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import from_url

from ingestion_assets.landing import leases
from ingestion_assets.landing.drops import NotYetError
from ingestion_assets.orchestration.retries import failure_of, give_back, is_transient
from ingestion_assets.settings import Settings
from ingestion_assets.stores import mongo
from ingestion_assets.stores.embedded import free_port
from ingestion_assets.zones import kept
from ingestion_assets.zones.tables.duckdb import DuckTable
from ingestion_assets.zones.tables.mongodb import MongoTable
from ingestion_assets.zones.tables.parquet import ParquetTable
from ingestion_assets.zones.tables.postgres_table import PostgresTable
from ingestion_assets.zones.tables.target import Shape, TableRefusedError
from ingestion_assets_tests.object_stores import BUCKET, S3Server, s3_server
from ingestion_assets_tests.zones.laws import Kept, expected, held_by, parts_of, statuses
from ingestion_assets_tests.zones.made_rows import shape


class Reading(msgspec.Struct):
    id: str
    v: int


COLUMNS = {"id": "text", "v": "integer", "note_": "text"}
Make = Callable[[Shape], Kept]

KEYS = st.sampled_from(["a", "b", "c", "ä", "", "null"])
RECORDS = st.tuples(
    KEYS,
    st.integers(0, 3),
    st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3),
)
PAYLOADS = st.lists(st.lists(RECORDS, max_size=6), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["postgres", "mongodb", "parquet", "s3", "duckdb"])
def make(request: pytest.FixtureRequest, engine: sa.Engine, tmp_path: Path) -> Make:
    kept.prepare(engine)
    return {"postgres": _postgres, "mongodb": _mongodb, "parquet": _parquet, "s3": _s3, "duckdb": _duckdb}[
        request.param
    ](request, engine, tmp_path)


def _postgres(request: pytest.FixtureRequest, engine: sa.Engine, _folder: Path) -> Make:
    database: psycopg.Connection[Any] = request.getfixturevalue("database")

    def made(of: Shape) -> Kept:
        name = f"shop.t{uuid4().hex}"

        def table() -> PostgresTable:
            one = PostgresTable(engine, name, of)
            one.prepare()
            return one

        def read() -> list[Any]:
            rows = database.execute(f"SELECT * FROM {name}").fetchall()  # type: ignore[arg-type]
            return [(row[:-2], row[-2], row[-1]) for row in rows]

        return Kept(table, read)

    return made


def _mongodb(request: pytest.FixtureRequest, _engine: sa.Engine, _folder: Path) -> Make:
    database = mongo.database(
        request.getfixturevalue("mongodb_url"), name=request.getfixturevalue("mongodb_database")
    )

    def made(of: Shape) -> Kept:
        collection = database[f"t{uuid4().hex}"]

        def table() -> MongoTable:
            one = MongoTable(collection, of)
            one.prepare()
            return one

        def read() -> list[Any]:
            names = [column.name for column in of.columns]
            found = collection.find({})
            return [
                (tuple(one.get(name) for name in names), one["_receipt"], one["_position"]) for one in found
            ]

        return Kept(table, read)

    return made


def _parquet(_request: pytest.FixtureRequest, engine: sa.Engine, folder: Path) -> Make:
    def made(of: Shape) -> Kept:
        if of.version:
            pytest.skip("Parquet files have no versions")
        place = folder / uuid4().hex

        def table() -> ParquetTable:
            one = ParquetTable(engine, place.as_uri(), of)
            one.prepare()
            return one

        def read() -> list[Any]:
            rows = [row for file in sorted(place.glob("*.parquet")) for row in pl.read_parquet(file).rows()]
            return [(row[:-2], UUID(row[-2]), row[-1]) for row in rows]

        return Kept(table, read)

    return made


def _s3(request: pytest.FixtureRequest, engine: sa.Engine, _folder: Path) -> Make:
    server: S3Server = request.getfixturevalue("s3")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in server.environment.items():
        patch.setenv(name, value)

    def made(of: Shape) -> Kept:
        if of.version:
            pytest.skip("Parquet files have no versions")
        url = f"s3://{BUCKET}/{uuid4().hex}"

        def table() -> ParquetTable:
            one = ParquetTable(engine, url, of)
            one.prepare()
            return one

        def read() -> list[Any]:
            return [(row[:-2], UUID(row[-2]), row[-1]) for row in rows_in(url)]

        return Kept(table, read)

    return made


def rows_in(url: str) -> list[tuple[Any, ...]]:
    """The rows of the Parquet files at the URL."""
    store = from_url(url)
    files = sorted(one["path"] for page in store.list() for one in page if one["path"].endswith(".parquet"))
    return [row for file in files for row in pl.read_parquet(bytes(obstore.get(store, file).bytes())).rows()]


def _duckdb(_request: pytest.FixtureRequest, engine: sa.Engine, folder: Path) -> Make:
    def made(of: Shape) -> Kept:
        file = folder / f"{uuid4().hex}.duckdb"

        def table() -> DuckTable:
            one = DuckTable(engine, f"{file}/shop.events", of)
            one.prepare()
            return one

        def read() -> list[Any]:
            with duckdb.connect(str(file), read_only=True) as connection:
                rows = connection.execute("SELECT * FROM shop.events").fetchall()
            return [(row[:-2], row[-2], row[-1]) for row in rows]

        return Kept(table, read)

    return made


@pytest.mark.parametrize(("keyed", "versioned"), [(True, False), (False, False), (True, True)])
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data(), payloads=PAYLOADS)
def test_a_table_is_a_dict_however_records_are_cut(make, keyed, versioned, data, payloads):
    kept_in = make(shape(key="id" if keyed else None, version="v" if versioned else None, **COLUMNS))
    start = 0
    while start < len(payloads):
        end = data.draw(st.integers(start + 1, len(payloads)), "claim up to")
        parts = parts_of(payloads, range(start, end), size=data.draw(st.integers(1, 8), "rows at once"))
        lost = data.draw(st.integers(0, len(parts)), "killed while it reads the part")
        table = kept_in.table()
        with contextlib.suppress(InterruptedError):
            table.store(_dies_after(parts, lost))
        first = table.store(parts)
        again = kept_in.table().store(parts)
        if not versioned:
            assert again == first, "a repetition says the same"
        start = end
    assert held_by(kept_in, keyed=keyed) == expected(payloads, keyed=keyed, versioned=versioned)


def _dies_after(parts, number):
    yield from parts[:number]
    if number < len(parts):
        raise InterruptedError


def test_what_is_said_of_records(make):
    table = make(shape(**COLUMNS)).table()
    payloads = [[("a", 1, None), ("a", 2, None)], [("a", 3, None), ("b", 1, None)]]
    told = table.store(parts_of(payloads, [0, 1], size=10))
    assert statuses(told) == ["stored", "duplicate", "duplicate", "stored"]
    assert {one.by for one in told[1:3]} == {UUID(int=0)}
    assert table.store([]) == []


def test_what_is_said_of_versions(make):
    table = make(shape(version="v", **COLUMNS)).table()
    assert statuses(table.store(parts_of([[("a", 2, None), ("a", 1, None)]], [0], size=10))) == [
        "stored",
        "superseded",
    ]
    payloads = [[], [("a", 2, None), ("a", 3, None), ("b", 1, None)]]
    told = table.store(parts_of(payloads, [1], size=10))
    assert statuses(told)[1:] == ["updated", "stored"]
    assert statuses(told)[0] == "superseded"


def test_what_no_store_can_hold_is_rejected_alone(make):
    table = make(shape(id="text", n_="integer", d_="decimal", f_="number")).table()
    rows = [
        ("good", 1, Decimal("1.50"), 0.5), ("big", 2**80, None, None), ("many", None, Decimal("1e400"), None),
        ("infinite", None, None, float("inf")), ("also good", None, None, None),
    ]  # fmt: skip
    told = table.store(parts_of([rows], [0], size=10))
    assert [one.status for one in told][:2] == ["stored", "rejected"]
    assert told[3].status == "rejected"
    assert told[4].status == "stored"
    assert all(one.code and one.reason for one in told if one.status == "rejected")


def test_what_could_lose_data_is_refused_by_all(make, tmp_path):  # noqa: ARG001
    kept_in = make(shape(**COLUMNS))
    kept_in.table().store(parts_of([[("a", 1, None)]], [0], size=1))
    with pytest.raises(TableRefusedError):
        make(shape(**{**COLUMNS, "key": "missing"})).table()


def test_timestamps_are_the_same_moment_everywhere(make):
    elsewhere = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    kept_in = make(shape(id="text", at="timestamp"))
    kept_in.table().store(parts_of([[("a", elsewhere), ("b", datetime(2026, 1, 31, 10))]], [0], size=2))  # noqa: DTZ001
    moments = {values[1].replace(tzinfo=values[1].tzinfo or UTC) for values, _, _ in kept_in.read()}
    assert moments == {elsewhere}


def test_one_number_or_instant_is_one_key_however_it_is_written(make):
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    same = [
        ("decimal", Decimal("1.0"), Decimal("1.00")), ("decimal", Decimal(10), Decimal("1E+1")), ("number", 0.0, -0.0),
        ("timestamp", noon, noon.astimezone(timezone(timedelta(hours=2)))), ("timestamp", noon, noon.replace(tzinfo=None)),
    ]  # fmt: skip
    micro = noon.replace(microsecond=123456)
    same.append(("timestamp", micro, micro))
    for kind, first, again in same:
        table = make(shape(id=kind)).table()
        assert statuses(table.store(parts_of([[(first,), (again,)]], [0], size=10))) == [
            "stored",
            "duplicate",
        ]
        assert statuses(table.store(parts_of([[], [(again,)]], [1], size=10))) == ["duplicate"]
    table = make(shape(id="timestamp")).table()
    assert statuses(
        table.store(parts_of([[(micro,), (noon.replace(microsecond=123457),)]], [0], size=10))
    ) == ["stored", "stored"]


def test_a_folder_that_nothing_opens_is_refused(engine):
    with pytest.raises(TableRefusedError, match="nowhere://shop/orders cannot be opened"):
        ParquetTable(engine, "nowhere://shop/orders", shape(id="text")).prepare()


def test_a_store_that_fails_costs_payloads_nothing(runs, s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{uuid4().hex}"
    table = ParquetTable(runs.engine, url, shape(id="text", v="integer"))
    table.prepare()
    limits = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]

    def fails(error: type[Exception]) -> None:
        claim = runs.claim()
        with pytest.raises(error) as raised:
            runs.work(claim, table, Reading, is_transient=is_transient).outcomes()
        with runs.engine.begin() as connection:
            assert give_back(connection, claim.claim_id, failure_of(raised.value), limits) == 2
            connection.execute(sa.text("UPDATE ingestion.drops SET not_before = NULL"))
            assert connection.execute(sa.text("SELECT state, attempts FROM ingestion.drops")).all() == [("landed", 0)] * 2  # fmt: skip
            leases.release(connection, claim.run_id)

    runs.land([{"id": "a", "v": 1}, {"id": "b", "v": 1}], [{"id": "b", "v": 2}, {"id": "c", "v": 1}])
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        fails(ConnectionError)
    s3.wipe()
    fails(NotYetError)
    s3.make_bucket()
    told = runs.run(table, Reading)
    assert [one.status for outcome in told.values() for one in outcome.records].count("stored") == 3
    assert [row[:2] for row in rows_in(url)] == [("a", 1), ("b", 1), ("c", 1)]
