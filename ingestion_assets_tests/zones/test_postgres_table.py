"""Records in PostgreSQL: what is stored, what is not, and how a table follows its records."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from ingestion_assets.zones.tables.postgres_table import PostgresTable
from ingestion_assets.zones.tables.target import Rows, TableRefusedError
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.made_rows import rows, shape, statuses

NAME = "shop.events"


@pytest.fixture
def made(engine, database):  # noqa: ARG001 - which cleans up
    def make(name=NAME, **kinds) -> PostgresTable:
        table = PostgresTable(engine, name, shape(**kinds))
        table.prepare()
        return table

    return make


def test_values_come_back_as_they_were(made, database):
    table = made(
        id="text",
        i="integer",
        f="number",
        d="decimal",
        b="boolean",
        t="timestamp",
        day="date",
        u="uuid",
        j="json",
        n_="text",
    )
    texts = [
        "",
        "null",
        "NULL",
        '"',
        "\\",
        "\\.",
        "a\nb\r\tc\b\f/",
        "]\n[",
        "é😀\u2028",
        'x\\n"y"',
        ",",
        " ",
        "\x01\x7f",
    ]
    values = [
        (
            text, 2**63 - 1, 0.1, Decimal("0.10000000000000000000000001"), True, datetime(2026, 1, 31, 12, 0, 0, 1, UTC),
            date(2026, 1, 31), UUID(int=7), '{"a": [1, "\\n\\"", 0.10000000000000000000000001]}', None,
        )
        for text in texts
    ]  # fmt: skip
    assert statuses(table.store([rows(1, *values)])) == ["stored"] * len(texts)
    found = database.execute(f"SELECT * FROM {NAME} ORDER BY _position").fetchall()
    assert [row[:9] for row in found] == [(*one[:8], {"a": [1, '\n"', 0.1]}) for one in values]
    assert [row[9:] for row in found] == [(None, UUID(int=1), place) for place in range(len(texts))]
    exact = database.execute(f"SELECT DISTINCT j->'a'->>2 FROM {NAME}").fetchall()
    assert exact == [("0.10000000000000000000000001",)]


def test_a_timestamp_without_a_zone_is_utc(made, database):
    table = made(id="integer", at="timestamp")
    table.store([rows(1, (1, datetime(2026, 1, 31, 12)))])  # noqa: DTZ001
    assert database.execute(f"SELECT at FROM {NAME}").fetchone() == (datetime(2026, 1, 31, 12, tzinfo=UTC),)


def test_a_key_is_stored_once_and_what_was_accepted_first_stays(made, database):
    table = made(id="text", v="integer")
    assert statuses(table.store([rows(2, ("a", 1), ("b", 2), ("a", 3))])) == ["stored", "stored", "duplicate"]
    again = table.store([rows(3, ("a", 9), ("c", 4))])
    assert statuses(again) == ["duplicate", "stored"]
    assert again[0].by == UUID(int=2)
    assert statuses(table.store([rows(2, ("a", 1), ("b", 2), ("a", 3))])) == ["stored", "stored", "duplicate"]
    assert statuses(table.store([rows(1, ("b", 0))])) == ["stored"], (
        "was accepted earlier, though it comes later"
    )
    found = database.execute(f"SELECT id, v FROM {NAME} ORDER BY id").fetchall()
    assert found == [("a", 1), ("b", 0), ("c", 4)]


def test_the_newest_version_wins(made, database):
    table = made(id="text", at="text", version="at")
    told = table.store([rows(1, ("a", "B"), ("b", "a"), ("a", "a"), ("a", "Z"))])
    assert statuses(told) == ["superseded", "stored", "stored", "superseded"], (
        "by code points, not by a language"
    )
    told = table.store([rows(2, ("a", "a"), ("a", "b"), ("b", "Z"), ("c", "x"))])
    assert statuses(told) == ["superseded", "updated", "superseded", "stored"]
    assert told[2].by == UUID(int=1)
    assert statuses(table.store([rows(3, ("a", "b"))])) == ["duplicate"]
    assert database.execute(f"SELECT id, at FROM {NAME} ORDER BY id").fetchall() == [
        ("a", "b"),
        ("b", "a"),
        ("c", "x"),
    ]


def test_without_a_key_each_record_is_a_row_however_often_it_comes(made, database):
    table = made(key=None, v="integer")
    for _ in range(2):
        assert statuses(table.store([rows(1, (1,), (1,)), rows(1, (1,), first=2)])) == ["stored"] * 3
    assert database.execute(f"SELECT count(*) FROM {NAME}").fetchone() == (3,)


def test_what_postgresql_refuses_is_rejected_alone(made, database):
    table = made(id="text", n_="integer", f_="number", d_="decimal", j_="json")
    database.execute(f"ALTER TABLE {NAME} ADD CONSTRAINT small CHECK (n < 1000)")
    incompressible = "".join(chr(0x4E00 + place * 7 % 20000) for place in range(5000))
    bad = [
        ("nul\0", None, None, None, None),
        ("long" + incompressible, None, None, None, None),
        ("big", 2**70, None, None, None),
        ("infinite", None, float("inf"), None, None),
        ("no number", None, None, Decimal("NaN"), None),
        ("too many digits", None, None, Decimal("1e200000"), None),
        ("json", None, None, None, '{"a": "\\u0000"}'),
        ("check", 5000, None, None, None),
    ]
    good = [(f"good {place}", place, None, None, None) for place in range(300)]
    told = table.store([rows(1, *good[:150], *bad, *good[150:])])
    assert [place for place, one in enumerate(told) if one.status == "rejected"] == list(range(150, 158))
    assert {one.status for one in told} == {"stored", "rejected"}
    assert [one.code for one in told[150:158]] == [
        "invalid_value", "too_long", "out_of_range", "invalid_value", "invalid_value", "out_of_range", "refused_by_database",
        "refused_by_database",
    ]  # fmt: skip
    assert "constraint small" in (told[157].reason or "")
    assert database.execute(f"SELECT count(*) FROM {NAME}").fetchone() == (300,)


def test_two_runs_that_store_the_same_keys_at_once_agree(made, database, engine):
    kinds = {"id": "integer", "v": "integer"}
    made(**kinds)
    told: dict[int, list] = {}
    waiting = threading.Barrier(4)

    def run(receipt: int) -> None:
        table = PostgresTable(engine, NAME, shape(**kinds))
        keys = range(2000) if receipt % 2 else range(1999, -1, -1)

        def parts():
            waiting.wait()
            for start in range(0, 2000, 100):
                yield rows(receipt, *((key, receipt) for key in keys[start : start + 100]), first=start)

        told[receipt] = table.store(parts())

    threads = [threading.Thread(target=run, args=(receipt,)) for receipt in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [1, 2, 3, 4]
    found = database.execute(f"SELECT id, v FROM {NAME} ORDER BY id").fetchall()
    assert found == [(key, 1) for key in range(2000)], "the first accepted stays, whoever stored first"
    again = {receipt: PostgresTable(engine, NAME, shape(**kinds)) for receipt in (1, 2)}
    assert statuses(again[1].store([rows(1, *((key, 1) for key in range(2000)))])) == ["stored"] * 2000
    told = again[2].store([rows(2, *((key, 2) for key in range(1999, -1, -1)))])
    assert {(one.status, one.by) for one in told} == {("duplicate", UUID(int=1))}


def test_a_run_that_a_copying_one_was_preferred_to_stores_after_it(made, database, engine, postgres_url):
    """The copying run has key 1 and waits for key 2, the other the other way round: PostgreSQL gives one of them up."""
    kinds = {"id": "integer", "v": "integer"}
    table = made(**kinds)
    for receipt in (8, 9):  # not all rows are new: the next ones are not copied
        table.store([rows(receipt, (2, 9))])
    database.execute(f"DELETE FROM {NAME}")
    told: list[list] = []
    with psycopg.connect(postgres_url) as copying:
        copying.execute("SET deadlock_timeout = '60s'")  # it is not the one to notice
        copying.execute(
            f"INSERT INTO {NAME} (id, v, _receipt, _position) VALUES (2, 1, %s, 0)", [UUID(int=1)]
        )
        with engine.begin() as connection:
            name = connection.scalar(sa.text("SELECT current_database()"))
            connection.execute(sa.text(f"ALTER DATABASE {name} SET deadlock_timeout = '5s'"))
        engine.dispose()
        run = threading.Thread(target=lambda: told.append(table.store([rows(2, (1, 2), (2, 2))])))
        run.start()
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(lambda: database.execute(blocked).fetchone() == (1,), seconds=10, what="the run to wait")
        copying.execute(
            f"INSERT INTO {NAME} (id, v, _receipt, _position) VALUES (1, 1, %s, 1)", [UUID(int=1)]
        )
    run.join()
    assert [[(one.status, one.by) for one in each] for each in told] == [[("duplicate", UUID(int=1))] * 2]


def test_nothing_is_stored_where_reading_fails(made, database):
    table = made(id="integer")

    def parts():
        yield rows(1, (1,))
        raise LookupError("later")

    with pytest.raises(LookupError):
        table.store(parts())
    assert database.execute(f"SELECT count(*) FROM {NAME}").fetchone() == (0,)
    assert table.store([]) == []
    assert table.store([Rows((), (), ())]) == []


def test_a_table_follows_what_loses_nothing(made, database):
    made(id="text", n="integer").store([rows(1, ("a", 1))])
    table = made(id="text", n_="decimal", more_="json")
    assert statuses(table.store([rows(2, ("b", None, '{"x": 1}'))])) == ["stored"]
    found = database.execute(f"SELECT id, n, more FROM {NAME} ORDER BY id").fetchall()
    assert found == [("a", Decimal(1), None), ("b", None, {"x": 1})]
    made(id="text", n_="decimal", more_="json")


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ({"id": "text", "n": "integer", "more": "text"}, "new field more is required"),
        ({"id": "text", "n": "text"}, "n is bigint in shop.events and cannot become text"),
        ({"id": "text"}, "the column n of shop.events is no field"),
        ({"id": "text", "n": "integer", "key": "n"}, r"the key of shop.events is \(id\), not \(n\)"),
        ({"id": "text", "n": "integer", "key": None}, r"not \(_receipt, _position\)"),
        ({"id": "text", "n": "integer", "opt": "text"}, "opt is required"),
        ({"id": "text", "n": "integer", "key": "else"}, "the key else is no field"),
        ({"id_": "text", "n": "integer"}, "the key id may be missing"),
        ({"id": "json", "n": "integer"}, "of kind json"),
        ({"id": "text", "_receipt": "text"}, "call the field otherwise"),
        ({"id": "text", "n": "integer", "version": "n", "key": None}, "name a key, too"),
        ({"id": "text", "n" * 70: "integer"}, "at most 63 bytes"),
    ],
)
def test_what_could_lose_data_is_refused(made, database, kinds, says):
    made(id="text", n="integer").store([rows(1, ("a", 1))])
    before = database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'shop.events'::regclass"
    ).fetchall()
    with pytest.raises(TableRefusedError, match=says):
        made(**kinds)
    assert (
        database.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'shop.events'::regclass"
        ).fetchall()
        == before
    )


def test_a_table_without_rows_becomes_whatever_is_wanted(made):
    made(id="text", n_="integer")
    made(id="integer", n="json", more="text", key="more")
    assert statuses(
        made(id="integer", n="json", more="text", key="more").store([rows(1, (1, "[]", "x"))])
    ) == ["stored"]
    with pytest.raises(TableRefusedError, match="n is jsonb"):
        made(id="integer", n="text", more="text", key="more")


def test_tables_of_others_are_left_alone(made, database):
    database.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.events (id text); CREATE VIEW shop.shown AS SELECT 1 AS id"
    )
    for name, says in (("shop.events", "was not made for a zone"), ("shop.shown", "is a view")):
        with pytest.raises(TableRefusedError, match=says):
            made(name, id="text")


def test_values_stay_out_of_what_is_said(made, database):
    table = made(id="text", n_="integer")
    database.execute(f"ALTER TABLE {NAME} ADD CHECK (id <> 'secret')")
    (told,) = table.store([rows(1, ("secret", None))])
    assert told.status == "rejected"
    assert "secret" not in (told.reason or "")
