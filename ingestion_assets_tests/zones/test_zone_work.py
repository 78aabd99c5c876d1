"""A run's work on its claim: payloads into a table, or to a function; every record has its outcome."""

import msgspec
import polars as pl
import pydantic
import pytest

from ingestion_assets.zones.batch import Batch, Outcome
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.tables.postgres_table import PostgresTable
from ingestion_assets.zones.tables.target import Shape
from ingestion_assets_tests.zones.runs import counts
from ingestion_assets_tests.zones.shop import Order, OrderStruct


class Event(msgspec.Struct):
    id: str
    n: int
    note: str | None = None


@pytest.fixture
def table(runs):
    def make(*, key=("id",), version=None) -> PostgresTable:
        made = PostgresTable(runs.engine, "shop.events", Shape(record_type(Event).columns, key, version))
        made.prepare()
        return made

    return make


def event(key: str, n: int = 1, **more: object) -> dict:
    return {"id": key, "n": n, **more}


def test_every_record_has_an_outcome(runs, table, database):
    (array,) = runs.land([event("a"), {"id": "b"}, event("c"), event("a", 2), 7])
    (lines,) = runs.land(
        b'{"id": "d", "n": 1}\nnonsense\n\n{"id": "c", "n": 3}', media_type="application/x-ndjson"
    )
    (rows,) = runs.land(b"id,n\ne,1\nf\ng,x\n", media_type="text/csv")
    (nothing,) = runs.land(b"nonsense")
    told = runs.run(table(), Event)
    assert counts(told[array]) == {"received": 5, "stored": 2, "duplicate": 1, "rejected": 2}
    assert [one.status for one in told[array].records] == [
        "stored",
        "rejected",
        "stored",
        "duplicate",
        "rejected",
    ]
    assert told[array].records[3].duplicate_of == str(array)
    assert [(one.position, one.code, one.record) for one in told[array].rejects] == [
        (1, "missing_field", b'{"id": "b"}'), (4, "wrong_type", b"7"),
    ]  # fmt: skip
    assert told[array].result["errors"][0] == {
        "record": 1, "code": "missing_field", "field": "n", "reason": "n: the field is missing",
    }  # fmt: skip
    assert [(one.position, one.code, one.record) for one in told[lines].rejects] == [
        (1, "not_json", b"nonsense")
    ]
    assert told[lines].records[2].duplicate_of == str(array)
    assert [(one.position, one.code) for one in told[rows].rejects] == [
        (1, "wrong_fields"),
        (2, "wrong_type"),
    ]
    assert told[nothing].failed
    assert [one.code for one in told[nothing].rejects] == ["unreadable"]
    found = database.execute("SELECT id, n, _receipt, _position FROM shop.events ORDER BY id").fetchall()
    assert found == [("a", 1, array, 0), ("c", 1, array, 2), ("d", 1, lines, 0), ("e", 1, rows, 0)]


def test_a_run_that_was_lost_is_repeated_to_the_same_outcomes(runs, table, database):
    runs.land([event("a", 1), event("b", 5)], [event("a", 2), event("b", 4), event("c", 1)])
    for version in (None, "n"):
        claim = runs.claim()
        again = []
        for _ in range(2):  # the first is killed before it ends its claim
            work = runs.work(runs.claim(again=claim), table(version=version), Event, max_bytes=1)
            again.append(sorted(work.outcomes(), key=lambda one: one.drop_id))
        assert again[0] == again[1]
        runs.finish(claim, again[0])
        database.execute("DROP TABLE shop.events")
        runs.land([event("a", 1), event("b", 5)], [event("a", 2), event("b", 4), event("c", 1)])
    assert counts(again[0][1]) == {"received": 3, "stored": 2, "updated": 1, "superseded": 1}


class Poisoned:
    """A table that cannot bear one of the records, for no reason that it could name."""

    def __init__(self, inner) -> None:
        self.inner, self.shape = inner, inner.shape

    def store(self, parts):
        kept = list(parts)
        if any(values[0] == "poison" for part in kept for values in part.values):
            raise RuntimeError("it is too much: 'poison'")
        return self.inner.store(kept)


@pytest.mark.parametrize("version", [None, "n"])
def test_what_lands_while_others_are_stored_joins_them(runs, table, database, version):
    """And a run that repeats one which was killed after that has all of it, and says the same."""
    landed = runs.land([event("a"), event("b", 3)])
    claim = runs.claim()
    coming = [[event("b", 2), {"id": 1}], [event("c"), event("a", 5)]]

    def join():
        if coming:
            landed.extend(runs.land(coming.pop(0)))
        return runs.join(claim)

    first = runs.work(claim, table(version=version), Event, join=join).outcomes()
    assert [drop.id for drop in claim.drops] == landed
    again = runs.claim(again=claim)
    assert again == claim
    outcomes = runs.work(again, table(version=version), Event, join=lambda: runs.join(again)).outcomes()
    assert outcomes == first if version else sorted(outcomes, key=lambda one: one.drop_id) == first
    runs.finish(claim, outcomes)
    told = {one.drop_id: counts(one) for one in outcomes}
    newest = {"stored": 1, "superseded": 1}
    assert told[landed[0]] == {"received": 2, **(newest if version else {"stored": 2})}
    assert told[landed[1]] == {"received": 2, "rejected": 1, "superseded" if version else "duplicate": 1}
    assert told[landed[2]] == {"received": 2, **({"stored": 2} if version else {"stored": 1, "duplicate": 1})}
    rows = database.execute("SELECT id, n FROM shop.events ORDER BY id").fetchall()
    assert rows == [("a", 5 if version else 1), ("b", 3), ("c", 1)]


@pytest.mark.parametrize("poisoned", [0, 1])
def test_of_what_joined_the_poisonous_fails_alone(runs, table, poisoned):
    bodies = [[event("a"), event("b")], [event("c")]]
    bodies[poisoned].append(event("poison"))
    landed = runs.land(bodies[0])
    claim = runs.claim()
    landed += runs.land(bodies[1])
    outcomes = runs.work(claim, Poisoned(table()), Event, join=lambda: runs.join(claim)).outcomes()
    runs.finish(claim, outcomes)
    assert {one.drop_id: one.failed for one in outcomes} == {
        drop_id: number == poisoned for number, drop_id in enumerate(landed)
    }


def test_a_payload_that_makes_the_store_fail_fails_alone(runs, table):
    good, bad, also = runs.land([event("a")], [event("b"), event("poison")], [event("c")])
    told = runs.run(Poisoned(table()), Event)
    assert [told[one].failed for one in (good, bad, also)] == [False, True, False]
    assert told[bad].rejects[0].reason == "RuntimeError: it is too much: …"
    assert counts(told[also]) == {"received": 1, "stored": 1}


def test_unknown_fields_are_told_as_drift(runs, table, database):
    first, second = runs.land([event("a")], [event("b", color="red", shape=1), event("c", size=1)])
    runs.run(table(), Event)
    found = database.execute(
        "SELECT path, first_drop FROM ingestion.format_drift WHERE flow = 'shop' ORDER BY path"
    ).fetchall()
    assert found == [("color", second), ("shape", second), ("size", second)]
    assert first != second


def test_drift_that_the_ledger_did_not_take_is_told_when_it_does(runs, table, database):
    records = record_type(Event)
    runs.land([event("a", colour="red")])
    claim = runs.claim()
    work = runs.work(claim, table(), Event, records=records)
    database.execute("ALTER TABLE ingestion.format_drift RENAME TO format_drift_away")
    try:
        assert [one.failed for one in work.outcomes()] == [True]
    finally:
        database.execute("ALTER TABLE ingestion.format_drift_away RENAME TO format_drift")
    again = runs.work(runs.claim(again=claim), table(), Event, records=records).outcomes()
    runs.finish(claim, again)
    assert [counts(one) for one in again] == [{"received": 1, "stored": 1}]
    found = database.execute("SELECT path FROM ingestion.format_drift WHERE path = 'colour'").fetchall()
    assert found == [("colour",)]


class Strict(pydantic.BaseModel, extra="forbid"):
    id: str
    n: int
    note: str | None = None


class Counted(pydantic.BaseModel):
    id: str
    n: int = 0
    by_name: dict[str, int] = {}


ODD = [
    (Event, {"n": 1, "a\0b": 1}, None),
    (Strict, {"n": 1, "a\0b": 1}, "a\\u0000b: Extra inputs are not permitted"),
    (Strict, {"n": 1, "k" * 3_000_000: 1}, f"{'k' * 199}…: Extra inputs are not permitted"),
    (Counted, {"by_name": {"a\0b": "x"}}, "by_name.a\\u0000b: Input should be a valid integer"),
]


@pytest.mark.parametrize(("model", "odd", "reason"), ODD)
def test_a_name_that_no_store_can_hold_harms_no_other_payload(runs, table, database, model, odd, reason):
    first, other = runs.land([event("good"), {"id": "odd", **odd}], [event("other")])
    told = runs.run(table(), model)
    assert counts(told[other]) == {"received": 1, "stored": 1}
    assert [one.reason.partition(",")[0] for one in told[first].rejects] == ([reason] if reason else [])
    known = database.execute("SELECT state, result FROM ingestion.drops ORDER BY id").fetchall()
    assert [(state, result["rejected"]) for state, result in known] == [("done", int(bool(reason))), ("done", 0)]  # fmt: skip


@pytest.mark.parametrize("note", ["a\0b", "\ud83d", "x" * 5000])
def test_a_reason_of_any_text_is_kept(runs, database, note):
    def keep(_batch: Batch[Event]):
        return [Outcome.reject(0, "bad", f"note is {note}")]

    first, other = runs.land([event("odd")], [event("other")])
    told = runs.run(keep, Event)
    assert [one.status for one in told[other].records] == ["stored"]
    (kept,) = database.execute("SELECT reason FROM ingestion.rejects WHERE drop_id = %s", [first]).fetchall()
    assert kept[0] == {"a": "note is a\\u0000b", "\ud83d": "note is \\ud83d"}.get(note[0], kept[0])
    assert len(kept[0]) <= 2000


def test_an_exception_of_any_text_ends_its_payload_alone(runs, database):
    def fail(batch: Batch[Event]):
        if batch.records[0].n == 13:
            raise LookupError("a\0b\ud83d")

    bad, good = runs.land([event("a", 13)], [event("b")])
    told = runs.run(fail, Event)
    assert [told[one].failed for one in (bad, good)] == [True, False]
    (errors,) = database.execute("SELECT errors FROM ingestion.drops WHERE id = %s", [bad]).fetchall()
    assert errors[0][0]["reason"] == "LookupError: a\\u0000b\\ud83d"


def test_the_function_is_handed_what_is_valid_and_may_reject(runs):
    seen = []

    def keep(batch: Batch[Event]):
        seen.append(batch)
        for index, one in enumerate(batch.records):
            if one.n < 0:
                yield Outcome.reject(index, "negative", "n is below 0")
            elif one.n == 0:
                yield Outcome.stored(index)

    first, second = runs.land([event("a"), event("b", -1), {"id": 1}], [event("c", 0)])
    told = runs.run(keep, Event)
    (batch,) = seen
    assert [one.id for one in batch.records] == ["a", "b", "c"]
    assert list(zip(batch.receipts, batch.positions, strict=True)) == [(first, 0), (first, 1), (second, 0)]
    assert counts(told[first]) == {"received": 3, "stored": 1, "rejected": 2}
    assert next((one.position, one.code, one.reason) for one in told[first].rejects) == (
        1,
        "negative",
        "n is below 0",
    )
    assert counts(told[second]) == {"received": 1, "stored": 1}


def test_a_key_is_handed_over_once(runs):
    handed = []

    def keep(batch: Batch[Event]):
        handed.extend((one.id, one.n) for one in batch.records)
        return [
            Outcome.reject(index, "negative", "no") for index, one in enumerate(batch.records) if one.n < 0
        ]

    first, second = runs.land(
        [event("a", 1), event("a", 2), event("b", -1), event("b", -2)], [event("b", 3), event("b", 4)]
    )
    told = runs.run(keep, Event, key=("id",))
    assert handed == [("a", 1), ("b", -1), ("b", -2), ("b", 3)], "what is rejected makes way for the next"
    assert [one.status for one in told[first].records] == ["stored", "duplicate", "rejected", "rejected"]
    assert [one.status for one in told[second].records] == ["stored", "duplicate"]
    (third,) = runs.land([event("b", 5), event("c", 1)])
    told = runs.run(keep, Event, key=("id",))
    assert handed[4:] == [("c", 1)]
    assert told[third].records[0].duplicate_of == str(second)


def test_a_lost_run_hands_nothing_over_again_and_says_the_same(runs, database):
    handed = []
    runs.land([event("a"), event("b", -1)])
    claim = runs.claim()

    def keep(batch: Batch[Event]):
        handed.extend(batch.records)
        return [
            Outcome.reject(index, "negative", "no") for index, one in enumerate(batch.records) if one.n < 0
        ]

    told = [runs.work(runs.claim(again=claim), keep, Event).outcomes() for _ in range(2)]
    assert told[0] == told[1]
    assert len(handed) == 2
    runs.finish(claim, told[1])
    runs.land([event("c")])
    runs.run(keep, Event)
    assert database.execute("SELECT count(*) FROM zones.told").fetchone() == (1,), (
        "what the receipt has is forgotten"
    )


@pytest.mark.parametrize("version", [None, "n"])
def test_a_rebuild_stores_again_what_the_table_has_lost(runs, table, database, version):
    receipts = runs.land([event("a")], [event("b"), event("a", 2)])
    runs.run(table(version=version), Event)
    before = database.execute("SELECT id, n FROM shop.events ORDER BY id").fetchall()
    database.execute("DROP TABLE shop.events")
    claim = runs.rebuild()
    outcomes = runs.work(claim, table(version=version), Event).outcomes()
    runs.finish(claim, outcomes)
    assert {one.drop_id for one in outcomes} == set(receipts)
    assert database.execute("SELECT id, n FROM shop.events ORDER BY id").fetchall() == before


def test_a_rebuild_hands_over_again_what_has_no_key(runs):
    handed = []

    def keep(batch: Batch[Event]):
        handed.extend(one.id for one in batch.records)

    runs.land([event("a")])
    runs.run(keep, Event)
    claim = runs.rebuild()
    runs.finish(claim, runs.work(claim, keep, Event).outcomes())
    assert handed == ["a", "a"]


def test_an_exception_of_the_function_fails_its_payload_alone_and_keeps_no_key(runs):
    def fail(batch: Batch[Event]):
        if any(one.n == 13 for one in batch.records):
            raise LookupError("thirteen")

    good, bad = runs.land([event("a")], [event("b"), event("x", 13)])
    told = runs.run(fail, Event, key=("id",))
    assert not told[good].failed
    assert told[bad].failed
    (again,) = runs.land([event("b")])
    assert counts(runs.run(fail, Event, key=("id",))[again]) == {"received": 1, "stored": 1}


@pytest.mark.parametrize("said", [[1], [Outcome(7)], [Outcome(-1)], ["stored"]])
def test_what_is_no_outcome_is_said(runs, said):
    (one,) = runs.land([event("a")])
    told = runs.run(lambda _batch: said, Event)
    assert told[one].failed
    assert "Outcome.reject" in told[one].rejects[0].reason
    with pytest.raises(ValueError, match="lower-case"):
        Outcome.reject(0, "Not a code", "why")


@pytest.mark.parametrize("model", [Order, OrderStruct])
def test_frames_have_types(runs, model):
    frames = []

    def keep(batch):
        frames.append((batch.frame(), batch.pandas()))

    order = {
        "id": "a", "number": 2**70, "total": "0.10000000000000000001", "at": "2026-01-31T12:00:00", "day": "2026-01-31",
        "token": "6f1a1a0e-4f0d-4c9f-9a51-3a2b0f6f7d11", "lines": [{"sku": "x", "price": "1"}],
    }  # fmt: skip
    runs.land([order, {"id": "b", "number": 1, "total": 1}])
    told = runs.run(keep, model)
    assert [one.rejects for one in told.values()] == [[]]
    ((polars, pandas),) = frames
    assert polars["number"].to_list() == [2**70, 1]
    assert str(polars["total"][0]) == "0.10000000000000000001"
    assert polars.schema["at"] == pl.Datetime("us", "UTC")
    assert polars["paid"].to_list() == [False, False]
    assert polars["token"].to_list() == [order["token"], None]
    assert list(pandas.columns) == polars.columns
    assert str(pandas["at"].dtype).startswith("datetime64") and str(pandas["at"].dt.tz) == "UTC"
    assert pandas["number"].tolist() == [2**70, 1]
    assert pandas["weight"].dtype == "float64"
