"""Payloads of a cancelled run wait for their time, say why, and go on when somebody says so."""

from datetime import UTC, datetime

import sqlalchemy as sa

from ingestion_assets.landing import dispatch, finishing, leases, pauses
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets_tests.landing.ledger_for_tests import LANE, accept_all, note, take

ERROR = {"code": "run_cancelled", "reason": "run 1 was cancelled"}


def lanes_to_dispatch(connection: sa.Connection) -> list[Lane]:
    return dispatch.lanes_to_dispatch(dispatch.lane_states(connection, flows=["notes"]), at_most=9)


def test_what_a_cancelled_run_held_waits_while_later_payloads_go_on(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    accept_all(engine, storage, [note(), note()])
    claim = take(engine, "run")
    with engine.begin() as connection:
        finishing.give_back(
            connection, "run", error=ERROR, transient=True, delay_s=0, max_attempts=4, pause_s=300
        )
        leases.release(connection, "run")
        assert lanes_to_dispatch(connection) == []
        (waiting,) = pauses.waiting(connection)
        said = pauses.why_waiting(connection, "notes")
    assert (waiting.lane, waiting.payloads, waiting.reason) == (LANE.name, 2, "run 1 was cancelled")
    assert 290 < (waiting.until - datetime.now(UTC)).total_seconds() <= 300
    assert said is not None
    assert "run 1 was cancelled" in said
    (later,) = accept_all(engine, storage, [note()])
    with engine.begin() as connection:
        assert lanes_to_dispatch(connection) == [LANE]
    assert [drop.id for drop in take(engine, "next").drops] == [later]
    with engine.begin() as connection:
        assert pauses.resume(connection, receipt=claim.drops[0].id) == 1
        assert pauses.resume(connection, flow="others") == 0
        assert pauses.resume(connection) == 1
        assert pauses.waiting(connection) == []
        leases.release(connection, "next")
    assert [drop.id for drop in take(engine, "last").drops] == [drop.id for drop in claim.drops]


def test_a_paused_lane_keeps_what_has_landed_and_a_longer_wait_stays(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    accept_all(engine, storage, [note()])
    with engine.begin() as connection:
        assert pauses.pause_lane(connection, LANE.flow, LANE.name, error=ERROR, seconds=300) == 1
        assert pauses.pause_lane(connection, LANE.flow, LANE.name, error=ERROR, seconds=60) == 0
        assert lanes_to_dispatch(connection) == []
        assert pauses.why_waiting(connection, "others") is None
