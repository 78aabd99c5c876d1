"""The ledger's clock as front doors read it: what is sent after an answer has the greater id, whatever wall clocks say."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.landing.clock import OFF_S, LedgerClock, Sample, since_boot, time_of
from ingestion_assets.landing.drops import Lane
from ingestion_assets_tests.orchestration.one_payload import land_one

seconds = st.floats(0, 1e6)


@given(
    ledger_ahead=st.floats(-1e6, 1e6),
    asked=seconds,
    way=st.floats(0, 10),
    back=st.floats(0, 10),
    later=seconds,
)
def test_a_sample_bounds_the_clock_that_was_sampled(
    ledger_ahead: float, asked: float, way: float, back: float, later: float
) -> None:
    sample = Sample(asked + way + ledger_ahead, asked, asked + way + back)
    at = sample.answered + later
    low, high = sample.bounds(at)
    assert low - 1e-3 <= at + ledger_ahead <= high + 1e-3


def test_the_narrower_sample_counts_until_it_is_contradicted() -> None:
    quick = Sample(1000.0, 10.0, 10.001)
    slow = Sample(1001.0, 10.5, 11.5)
    set_back = Sample(900.0, 12.0, 12.5)
    assert quick.better_of(slow) is quick
    assert slow.better_of(quick) is quick
    assert quick.better_of(set_back) is set_back
    assert quick.better_of(Sample(2000.0, 1010.0, 1010.01)) is not quick, "it has drifted for too long"


def test_ids_rise_in_all_threads_and_tell_the_ledgers_time(engine: sa.Engine) -> None:
    clock = LedgerClock(engine)
    clock.sample()
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: [clock.new_id() for _ in range(500)], range(16)))
    for ids in made:
        assert ids == sorted(ids)
    every = [one for ids in made for one in ids]
    assert len(set(every)) == len(every)
    assert {(one.version, one.variant) for one in every} == {(7, "specified in RFC 4122")}
    assert abs(time_of(every[-1]) - datetime.now(UTC)) < timedelta(seconds=5), (
        "this machine's ledger has its clock"
    )


def test_what_is_sent_after_an_answer_has_the_greater_id_at_any_front_door(engine: sa.Engine) -> None:
    clocks = [LedgerClock(engine) for _ in range(4)]
    for clock in clocks:
        clock.keep()
    try:
        last = UUID(int=0)
        for turn in range(2000):
            clock = clocks[turn * 7 % 4]
            made = clock.new_id()
            assert made > last, f"turn {turn}"
            clock.wait_past_ids()  # then it is answered
            last = made
    finally:
        for clock in clocks:
            clock.stop()


def test_a_ledger_that_is_slow_to_tell_its_time_does_not_cost_the_order(engine: sa.Engine) -> None:
    """The first door's sample took 0.7 s, as on a busy machine: its ids may be so far ahead, and it answers when they no longer are."""
    slow, quick = LedgerClock(engine), LedgerClock(engine)

    @sa.event.listens_for(engine, "before_cursor_execute")
    def delay(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "newest" in statement and len(delayed) < 1:
            delayed.append(statement)
            time.sleep(0.7)

    delayed: list[str] = []
    slow.sample()
    quick.sample()
    made = slow.new_id()
    slow.sample()  # a better one, which does not take back what was made
    slow.wait_past_ids()
    assert quick.new_id() > made


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=400)])
def test_ids_are_never_behind_what_the_ledger_has_seen(engine: sa.Engine, ahead: timedelta) -> None:
    """A front door that never reached the ledger gave this id out by its wall clock."""
    future = int((datetime.now(UTC) + ahead).timestamp() * 1000) << 80 | 7 << 76 | 2 << 62
    with engine.begin() as connection:
        land_one(connection, Lane("notes", "2026-01-31", "2026-01-31"))
        connection.execute(sa.text("UPDATE ingestion.drops SET id = :id"), {"id": UUID(int=future)})
    clock = LedgerClock(engine)
    clock.sample()
    assert UUID(int=future) < clock.new_id() < clock.new_id()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    began = time.monotonic()
    clock.wait_past_ids()
    assert time.monotonic() - began < 1, "nobody waits for the future"


def test_without_the_ledger_the_wall_clock_serves() -> None:
    clock = LedgerClock(sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    began = since_boot()
    clock.keep()
    clock.stop()
    assert since_boot() - began < 10
    assert clock.off_by() is None
    assert abs(time_of(clock.new_id()).timestamp() - time.time()) < OFF_S
