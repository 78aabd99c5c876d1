"""Payloads into tables: references, updates, limits, streams, repetition."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.results import WAITS, outcome_of, settled
from ingestion_assets.landing.drop_outcomes import RecordOutcome
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.definitions import TPCH, WORKSHOP

Database = psycopg.Connection[Any]
CUSTOMER = b"C|%d|Customer#%d| lane |3|11-719|-7.10|BUILDING| c "
ORDER = b"O|%d|%d|O|123.45|1996-01-02|5-LOW|Clerk|0| note "
PRODUCT = b"P|%d|name|m|b|t|7|c|901.00|x"
LINE = b"L|%d|%d|7|%d|17|1.00|0.04|0.02|N|O|1996-03-13|1996-02-12|1996-03-22|NONE|TRUCK| fast"
UUID = b"0197b0c0-6d2e-7c6e-9d6e-%012d"
MACHINE = b"M|" + UUID + b"|%s|DE|7|J||0,25|"


def many(*lines: bytes) -> bytes:
    """The lines as a payload large enough to be read in columns."""
    return b"\n".join((*lines, *(CUSTOMER % (n, n) for n in range(1000, 1700))))


def totals(loaded: Loaded) -> dict[str, int]:
    total = loaded.total()
    names = ("inserted", "updated", "unchanged", "superseded", "failed", "waiting")
    return {name: getattr(total, name) for name in names if getattr(total, name)}


def accounted(loaded: Loaded) -> bool:
    return all(
        one.processed + one.resolved
        == one.inserted + one.updated + one.unchanged + one.superseded + one.failed + one.waiting
        for one in loaded.entities.values()
    )


@pytest.mark.parametrize("shape", [many, lambda *lines: b"\n".join(lines)])
def test_rows_reference_each_other_in_any_order(database: Database, shape: Any) -> None:
    body = shape(
        LINE % (1, 5, 1), LINE % (2, 5, 1), ORDER % (1, 3), ORDER % (2, 4), PRODUCT % 5, CUSTOMER % (3, 3)
    )
    (loaded,) = load_drops(database, TPCH, landed(body))
    assert [(fault.line, fault.code, fault.entity, fault.message) for fault in loaded.faults] == [
        (2, "missing_reference", "OrderLineItem", "Foreign key violation: order_key=2 not found in Order"),
        (4, "missing_reference", "Order", "Foreign key violation: customer_key=4 not found in Customer"),
    ]
    assert loaded.faults[1].raw == ORDER % (2, 4)
    assert body[loaded.faults[1].offset :].startswith(ORDER % (2, 4))
    assert accounted(loaded)
    assert rows(database, TPCH, "Order") == [
        (1, 3, "O", Decimal("123.45"), date(1996, 1, 2), "5-LOW", "Clerk", 0, " note ")
    ]


@pytest.mark.parametrize("shape", [many, lambda *lines: b"\n".join(lines)])
def test_last_one_wins_and_is_counted(database: Database, shape: Any) -> None:
    first = shape(CUSTOMER % (1, 1), CUSTOMER % (1, 2), CUSTOMER % (2, 2), CUSTOMER % (1, 3))
    again = shape(CUSTOMER % (1, 3), CUSTOMER % (2, 9))
    (loaded,) = load_drops(database, TPCH, landed(first))
    assert (loaded.total().inserted - loaded.records, loaded.total().updated) == (-2, 2)
    (loaded,) = load_drops(database, TPCH, landed(again))
    assert (loaded.total().inserted, loaded.total().updated) == (0, 1)
    assert accounted(loaded)
    assert [row[1] for row in rows(database, TPCH, "Customer")[:2]] == ["Customer#3", "Customer#9"]


def test_payload_sees_what_was_accepted_before_it_and_nothing_later(database: Database) -> None:
    order, customer, late = landed(ORDER % (1, 1)), landed(CUSTOMER % (1, 1)), landed(ORDER % (2, 1))
    loaded = load_drops(database, TPCH, order, customer, late)
    assert [totals(one) for one in loaded] == [{"failed": 1}, {"inserted": 1}, {"inserted": 1}]


def test_older_payload_never_overwrites_a_newer_one(database: Database) -> None:
    older, newer = landed(CUSTOMER % (1, 1)), landed(CUSTOMER % (1, 2))
    load_drops(database, TPCH, newer)
    load_drops(database, TPCH, older)
    assert rows(database, TPCH, "Customer")[0][1] == "Customer#2"


def test_equal_row_takes_over_the_place_in_the_order(database: Database) -> None:
    first, between, again = landed(CUSTOMER % (1, 1)), landed(CUSTOMER % (1, 2)), landed(CUSTOMER % (1, 1))
    load_drops(database, TPCH, first)
    (loaded,) = load_drops(database, TPCH, again)
    assert totals(loaded) == {"unchanged": 1}
    (loaded,) = load_drops(database, TPCH, between)
    assert totals(loaded) == {"superseded": 1}
    assert rows(database, TPCH, "Customer")[0][1] == "Customer#1"
    assert database.execute('SELECT "_drop" FROM entities.customers').fetchone() == (again.id,)


def test_self_reference_and_composite_keys(database: Database) -> None:
    site = b'SITE|DE|7|M\xc3\xbcnchen "Nord"|31.01.2026|1.234,5'
    machines = [
        MACHINE % (3, UUID % 2),
        MACHINE % (2, UUID % 1),
        MACHINE % (1, b""),
        MACHINE % (6, UUID % 5),
        MACHINE % (5, UUID % 4),
    ]
    reading = b"R|" + UUID % 3 + b"|31.01.2026 09:30:00+0130|-1.5"
    (loaded,) = load_drops(database, WORKSHOP, landed(b"\r\n".join([reading, *machines, site])))
    assert totals(loaded) == {"inserted": 5, "failed": 2}
    assert [fault.line for fault in loaded.faults] == [5, 6]
    assert rows(database, WORKSHOP, "Site") == [
        ("DE", 7, 'München "Nord"', date(2026, 1, 31), Decimal("1234.500"))
    ]
    assert rows(database, WORKSHOP, "Reading")[0][1:] == (
        datetime(2026, 1, 31, 8, tzinfo=UTC),
        Decimal("-1.5"),
    )
    assert rows(database, WORKSHOP, "Machine")[0][1:] == (None, "DE", 7, True, None, Decimal("0.25"), None)


def test_half_a_reference_is_none(database: Database) -> None:
    (loaded,) = load_drops(database, WORKSHOP, landed(b"M|" + UUID % 1 + b"|||7|J"))
    assert totals(loaded) == {"inserted": 1}


def test_atomic_payload_is_all_or_nothing_and_takes_its_dependants_along(database: Database) -> None:
    atomic = landed(b"\n".join([CUSTOMER % (1, 1), ORDER % (1, 9)]), max_errors="0")
    dependant = landed(ORDER % (2, 1))
    first, second = load_drops(database, TPCH, atomic, dependant)
    assert first.refused
    assert (totals(first), [fault.record for fault in first.faults]) == ({"failed": 2}, [1])
    assert totals(second) == {"failed": 1}
    assert rows(database, TPCH, "Customer") == []


def test_some_errors_are_allowed(database: Database) -> None:
    body = b"\n".join([CUSTOMER % (1, 1), b"C|x", b"Q|1"])
    assert load_drops(database, TPCH, landed(body, max_errors="1"))[0].refused
    assert totals(load_drops(database, TPCH, landed(body, max_errors="2"))[0]) == {"inserted": 1, "failed": 2}


def _records(loaded: Loaded) -> Sequence[RecordOutcome]:
    now = datetime.now(UTC)
    return outcome_of(loaded, received_at=now, finished_at=now).records


def part(body: bytes, *, number: int, end: bool = False) -> Any:
    return landed(
        body,
        stream="s",
        first_line=str(number * 10),
        first_byte="0",
        **({"stream_end": "true"} if end else {}),
    )


def test_lines_of_a_stream_wait_for_what_they_reference(database: Database) -> None:
    orders, customers = (
        part(b"\n".join([ORDER % (1, 1), ORDER % (2, 2)]), number=0),
        part(CUSTOMER % (1, 1), number=1),
    )
    (first,) = load_drops(database, TPCH, orders)
    assert totals(first) == {"waiting": 2}
    (second,) = load_drops(database, TPCH, customers)
    assert totals(second) == {"inserted": 1}
    (last,) = load_drops(database, TPCH, part(b"", number=2, end=True))
    assert totals(last) == {"inserted": 1, "failed": 1}
    assert accounted(last)
    assert [(fault.line, fault.raw) for fault in last.faults] == [(2, ORDER % (2, 2))]
    waited = _records(first)
    assert [(one.status, one.id, one.code) for one in waited] == [
        ("rejected", "Order/1", WAITS),
        ("rejected", "Order/2", WAITS),
    ]
    assert [(one.status, one.id, one.code) for one in settled(waited, last.settled[orders.id])] == [
        ("stored", "Order/1", None),
        ("rejected", "Order/2", "missing_reference"),
    ]
    assert [row[0] for row in rows(database, TPCH, "Order")] == [1]
    assert database.execute("SELECT count(*) FROM entities._waiting").fetchone() == (0,)


def test_waiting_line_that_is_no_longer_valid_is_not_lost(database: Database) -> None:
    """Its entity's definition changed before the stream ended."""
    first, last = part(ORDER % (1, 1), number=0), part(CUSTOMER % (1, 1), number=1, end=True)
    load_drops(database, TPCH, first)
    without = EntitySet.of([TPCH.by_name["Customer"]])
    (loaded,) = load_drops(database, without, last)
    assert totals(loaded) == {"inserted": 1, "failed": 1}
    assert accounted(loaded)
    assert [(fault.code, fault.line, fault.raw) for fault in loaded.faults] == [
        ("unknown_prefix", 1, ORDER % (1, 1))
    ]
    assert loaded.settled[first.id][0].code == "unknown_prefix"


def test_a_redriven_line_says_what_it_said(database: Database) -> None:
    """What begins a payload of rejects began none when it came: U+FEFF belongs to what it stands in, also before a `#`."""
    customer = "\ufeff".encode() + CUSTOMER % (1, 1)
    comment = "\ufeff# once a comment".encode()
    first = load_drops(database, TPCH, landed(b"\n".join([CUSTOMER % (2, 2), customer, comment])))[0]
    again = [load_drops(database, TPCH, landed(one.raw, redrive_of="x"))[0] for one in first.faults]
    assert [one.faults[0].message for one in again] == [one.message for one in first.faults]


def test_stream_that_comes_in_one_claim(database: Database) -> None:
    parts = part(LINE % (1, 5, 1), number=0), part(ORDER % (1, 1), number=1), part(b"\n".join([PRODUCT % 5, CUSTOMER % (1, 1)]), number=2, end=True)  # fmt: skip
    loaded = load_drops(database, TPCH, *parts)
    assert [totals(one) for one in loaded] == [{"inserted": 1}, {"inserted": 1}, {"inserted": 2}]


def test_repetition_says_the_same_and_changes_nothing(database: Database) -> None:
    drop = landed(many(CUSTOMER % (1, 1), b"C|x"))
    first = load_drops(database, TPCH, drop)
    again = load_drops(database, TPCH, drop)
    assert again == first
    tally = database.execute(
        "SELECT processed, failed FROM entities._tally WHERE entity = 'Customer'"
    ).fetchone()
    assert tally == (702, 1)
