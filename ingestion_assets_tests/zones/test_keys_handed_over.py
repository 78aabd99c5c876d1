"""Keys of records that go to a function: what is one key, what becomes of them when a partition is rebuilt, or the zone's key changes."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_assets.zones import Batch, Outcome, drop_zone, in_force
from ingestion_assets.zones.publishing import publish_zone
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.tables.postgres_table import PostgresTable
from ingestion_assets.zones.tables.target import Shape
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.zones.runs import Runs, counts


class Event(msgspec.Struct):
    id: str
    n: int


class Priced(pydantic.BaseModel):
    id: Decimal


class Timed(pydantic.BaseModel):
    id: datetime


class Weighed(pydantic.BaseModel):
    id: float


class Shelf:
    """What a function writes: by key what it was handed; below `least` it rejects."""

    def __init__(self, *, least: int = 0) -> None:
        self.rows: dict[str, int] = {}
        self.least = least

    def __call__(self, batch: Batch[Event]) -> list[Outcome]:
        refused = [at for at, one in enumerate(batch.records) if one.n < self.least]
        self.rows |= {one.id: one.n for at, one in enumerate(batch.records) if at not in refused}
        return [Outcome.reject(at, "too_small", "n is too small") for at in refused]


def rebuild(runs: Runs, shelf: Shelf, **options: object) -> dict[UUID, dict[str, int]]:
    claim = runs.rebuild()
    outcomes = runs.work(claim, shelf, Event, key=("id",), **options).outcomes()
    runs.finish(claim, outcomes)
    return {one.drop_id: counts(one) for one in outcomes}


RECORDS = st.builds(lambda key, n: {"id": key, "n": n}, st.sampled_from("abc"), st.integers(-2, 3))
PAYLOADS = st.lists(st.lists(RECORDS, min_size=1, max_size=4), min_size=1, max_size=5)


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(payloads=PAYLOADS, together=st.integers(1, 3), max_bytes=st.sampled_from([1, 2**20]))
def test_a_rebuild_of_what_the_function_lost_gives_the_same_again(
    runs, database, payloads, together, max_bytes
):
    database.execute("TRUNCATE ingestion.drops, ingestion.leases, zones.told, zones.keys CASCADE")
    shelf = Shelf()
    stored: dict[UUID, int] = {}
    for start in range(0, len(payloads), together):
        runs.land(*payloads[start : start + together])
        told = runs.run(shelf, Event, key=("id",), max_bytes=max_bytes)
        stored |= {one: outcome.result["stored"] for one, outcome in told.items()}
    before, shelf.rows = shelf.rows, {}
    for _ in range(2):
        told = rebuild(runs, shelf, max_bytes=max_bytes)
        assert {one: what.get("stored", 0) for one, what in told.items()} == stored
        assert shelf.rows == before
    records = [one for payload in payloads for one in payload if one["n"] >= 0]
    assert before == {one["id"]: one["n"] for one in reversed(records)}, "the first of a key is handed over"


def test_a_rebuild_with_a_function_that_takes_less_gives_way_to_the_next_of_a_key(runs):
    runs.land([{"id": "a", "n": 1}, {"id": "a", "n": 5}, {"id": "b", "n": 1}])
    shelf = Shelf()
    runs.run(shelf, Event, key=("id",))
    assert shelf.rows == {"a": 1, "b": 1}
    stricter = Shelf(least=2)
    (told,) = rebuild(runs, stricter).values()
    assert told == {"received": 3, "stored": 1, "rejected": 2}
    assert stricter.rows == {"a": 5}
    runs.land([{"id": "a", "n": 6}, {"id": "b", "n": 7}])
    runs.run(stricter, Event, key=("id",))
    assert stricter.rows == {"a": 5, "b": 7}, "a key of which no record is taken any more is free"


SAME = [
    (Priced, "1.0", "1.00"), (Priced, "10", "1E+1"), (Priced, "-0.0", "0"), (Priced, "1e50", f"1{'0' * 50}"), (Weighed, 0.0, -0.0),
    (Timed, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"), (Timed, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "first", "again"), SAME)
def test_a_function_has_the_same_keys_as_a_table(runs, model, first, again):
    table = PostgresTable(runs.engine, "shop.events", Shape(record_type(model).columns, ("id",)))
    table.prepare()
    handed: list[object] = []

    def keep(batch: Batch[pydantic.BaseModel]) -> None:
        handed.extend(batch.records)

    for deliver in (keep, table):
        runs.land([{"id": first}, {"id": again}])
        (told,) = runs.run(deliver, model, key=("id",)).values()
        assert [one.status for one in told.records] == ["stored", "duplicate"]
    runs.land([{"id": again}])
    runs.run(keep, model, key=("id",))
    assert len(handed) == 1


@pytest.mark.parametrize(("model", "key"), [(Priced, "1.00"), (Priced, "70"), (Timed, "2026-01-01T01:00:00+01:00")])  # fmt: skip
def test_keys_that_were_remembered_as_written_count(runs, database, model, key):
    written = msgspec.json.encode([model(id=key).id])  # as it was kept before
    database.execute(
        "INSERT INTO zones.keys VALUES ('shop', %s, %s, 0)",
        [blake2b(written, digest_size=20).digest(), UUID(int=7)],
    )
    runs.land([{"id": key}])
    (told,) = runs.run(lambda _batch: (), model, key=("id",)).values()
    assert [one.duplicate_of for one in told.records] == [str(UUID(int=7))]


@pytest.fixture
def project(postgres_url: str, tmp_path: Path, runs: Runs) -> Iterator[Runs]:
    """A code location beside the runs' ledger."""
    with environment(
        INGESTION_POSTGRES_URL=postgres_url, INGESTION_HOME=tmp_path, INGESTION_ADMIN_TOKEN="made-up-token-of-the-test"
    ):  # fmt: skip
        yield runs


class Visit(msgspec.Struct):
    id: str
    page: str


def published(**how: object) -> str | None:
    @drop_zone(name="shop", records=Visit, **how)  # pyright: ignore[reportArgumentType]
    def pages(_batch: Batch[Visit]) -> None:
        """Visits."""

    return publish_zone(pages.zone, location="here", repository="__repository__")


def test_another_key_is_refused_once_records_are_remembered_by_the_one_in_force(project, database):
    assert published(key="id") is None
    assert published(key="page") is None, "nothing is remembered yet"
    assert published(key="id") is None
    project.land([{"id": "1", "page": "x"}])
    project.run(lambda _batch: (), Visit, key=("id",))
    for forgotten in (False, True):
        if forgotten:  # as before the names of keys were noted
            database.execute("DELETE FROM zones.key_names")
        for other in ("page", ["id", "page"], ()):
            said = published(key=other)
            assert said is not None
            assert "the key of shop is (id), not" in said
            assert "another name" in said
        assert published(key="id") is None
    with project.engine.begin() as connection:
        assert in_force.remove(connection, "shop")
    assert "the key of shop is (id)" in str(published(key="page")), "what is remembered stays"
    assert published(key="id") is None
