"""Waking on a real ledger: what fails is tried again, what was missed is made up for; drops given back come again at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from ingestion_assets.landing import finishing, leases, waking
from ingestion_assets.landing.dispatch import Dispatch, lane_states, lanes_to_dispatch, request
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import Flow, Keys, Runs
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.waking import Waker
from ingestion_assets.stores.postgres import driver_url
from ingestion_assets_tests.landing.ledger_for_tests import LANE, NOTES, accept_all, done, note, take
from ingestion_assets_tests.servers import wait_until


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(driver_url(fresh_postgres_url, "psycopg"))
    yield made
    made.dispose()


@contextmanager
def waker(engine: sa.Engine, launch: Callable[[Dispatch], None], **how: Any) -> Iterator[Waker]:
    made = Waker(engine=engine, launch=launch, **how)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def dispatch_states(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT state FROM ingestion.dispatches ORDER BY id")))


def test_a_bound_that_fails_lets_one_run_go_on_at_a_time() -> None:
    assert Runs(at_once=lambda: 1 // 0).bound() == 1


def test_a_flow_whose_words_fail_holds_up_no_other(engine: sa.Engine, tmp_path: Path) -> None:
    """Nor does it end the thread that wakes all of them."""
    odd = msgspec.structs.replace(note(), flow="odd")
    broken = Flow(name="odd", partitions=Keys(name="odd", named="pkgutil:walk_packages"))
    accept_all(engine, LocalStorage(tmp_path / "landing"), [note(), odd])
    launched: list[Dispatch] = []
    with waker(engine, launched.append, flows={"odd": broken, "notes": NOTES}) as woken:
        woken.wake([LANE, Lane("odd", LANE.partition, LANE.name)])
        wait_until(lambda: launched, seconds=5, what="the other flow's run")
        assert [one.lane.flow for one in launched] == ["notes"]
        accept_all(engine, LocalStorage(tmp_path / "landing"), [note(lane="another")])
        woken.wake([Lane("notes", LANE.partition, "another")])
        wait_until(lambda: len(launched) == 2, seconds=5, what="a run after that")


def test_a_launch_that_fails_is_tried_again_without_another_wake(engine: sa.Engine, tmp_path: Path) -> None:
    accept_all(engine, LocalStorage(tmp_path / "landing"), [note()])
    launched: list[Dispatch] = []

    def launch(dispatch: Dispatch) -> None:
        launched.append(dispatch)
        if len(launched) < 3:
            raise ConnectionError("the webserver is away")

    with waker(engine, launch) as woken:
        woken.wake([LANE])
        wait_until(lambda: len(launched) == 3, seconds=5 * waking.RETRY_S, what="the third launch")
        wait_until(
            lambda: dispatch_states(engine) == ["pending"], seconds=5, what="the other two to be forgotten"
        )


def test_a_free_place_goes_to_another_lane_of_the_flow(engine: sa.Engine, tmp_path: Path) -> None:
    names = [f"job {number}" for number in range(4)]
    accept_all(engine, LocalStorage(tmp_path / "landing"), [note(lane=name) for name in names])
    launched: list[Dispatch] = []
    with waker(engine, launched.append, flows={"notes": Flow(name="notes", runs=Runs(at_once=2))}) as woken:
        woken.wake_all(["notes"])
        wait_until(lambda: len(launched) == 2, seconds=5, what="as many as may go on")
        claim = take(engine, "run", lane=launched[0].lane, dispatch_id=launched[0].id)
        woken.wake([launched[0].lane])
        with engine.begin() as connection:
            finishing.finish(connection, claim, done(claim))
        woken.lane_freed(f'{{"flow": "notes", "lane": "{launched[0].lane.name}"}}')
        wait_until(lambda: len(launched) == 3, seconds=5, what="the next one")
    assert [one.lane.name for one in launched] == names[:3]


def test_waking_everything_finds_lanes_that_nobody_named(engine: sa.Engine, tmp_path: Path) -> None:
    accept_all(engine, LocalStorage(tmp_path / "landing"), [note()])
    launched: list[Dispatch] = []
    with waker(engine, launched.append) as woken:
        woken.wake_all(["others"])
        woken.wake_all([LANE.flow])
        wait_until(lambda: launched, seconds=5, what="the launch")
    assert [one.lane for one in launched] == [LANE]


def test_drops_given_back_may_be_taken_at_once_and_then_ever_later(engine: sa.Engine, tmp_path: Path) -> None:
    accept_all(engine, LocalStorage(tmp_path / "landing"), [note()])
    delays: list[float] = []
    for number in range(4):
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE ingestion.drops SET not_before = NULL"))
        assert len(take(engine, f"run {number}").drops) == 1
        with engine.begin() as connection:
            finishing.give_back(
                connection,
                f"run {number}",
                error={"code": "away"},
                transient=True,
                delay_s=10,
                max_attempts=2,
            )
            leases.release(connection, f"run {number}")
        with engine.connect() as connection:
            left = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM ingestion.drops"
            delays.append(float(connection.scalar(sa.text(left)) or 0))
    assert delays[0] <= 0
    assert [round(delay, -1) for delay in delays[1:]] == [10, 30, 60]


def test_what_a_waker_cannot_launch_is_left_to_others_meanwhile(engine: sa.Engine, tmp_path: Path) -> None:
    accept_all(engine, LocalStorage(tmp_path / "landing"), [note()])

    tried = Event()

    def launch(dispatch: Dispatch) -> None:
        tried.set()
        raise ConnectionError(f"no run for {dispatch.id}: the webserver is away")

    def sensor() -> bool:
        with engine.begin() as connection:
            states = lane_states(connection, flows=[LANE.flow])
            return bool(request(connection, lanes_to_dispatch(states, at_most=1)))

    with waker(engine, launch) as woken:
        woken.wake([LANE])
        wait_until(tried.is_set, seconds=5, what="the first failure")
        wait_until(sensor, seconds=waking.RETRY_S / 2, what="the lane to be free for the sensor")
