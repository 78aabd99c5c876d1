"""What a run hears at its safe points, and what it tells of its progress."""

import uuid
from uuid import UUID

import pytest
import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing, ledger, wanted
from ingestion_assets.landing.claims import Claim, ClaimLostError
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.long_work import LongWork
from ingestion_assets_tests.orchestration.one_payload import land_one

LANE = Lane("planned", "2026-01-31", "2026-01-31")


@pytest.fixture
def worker() -> Worker:
    return Worker.here()


@pytest.fixture
def claim(engine: sa.Engine, worker: Worker) -> Claim:
    run_id = str(uuid.uuid4())
    with engine.begin() as connection:
        land_one(connection, LANE)
        taken = claims.claim_landed(
            connection, LANE, claim_id=run_id, run_id=run_id, dispatch_id=None, max_bytes=2**20, lease_s=60
        )
    assert heartbeats.claim(engine, run_id=run_id, worker=worker, pid=worker.pid, lease_s=60)
    return taken


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def work(engine: sa.Engine, claim: Claim, said: list[str]) -> LongWork:
    return LongWork(engine, claim, say=said.append)


def drop_of(claim: Claim) -> UUID:
    return claim.drops[0].id


def test_a_run_goes_on_until_something_is_wanted(engine: sa.Engine, claim: Claim, work: LongWork) -> None:
    (drop,) = claim.drops
    assert work.safe_point(drop) == "continue"
    for ask, answer in (
        (wanted.pause, "pause"),
        (wanted.resume, "continue"),
        (wanted.pause, "pause"),
        (wanted.cancel, "cancel"),
    ):
        with engine.begin() as connection:
            assert ask(connection, drop.id)
        assert work.safe_point(drop) == answer


def test_a_worker_that_stops_asks_its_own_runs(
    engine: sa.Engine, claim: Claim, work: LongWork, worker: Worker
) -> None:
    (drop,) = claim.drops
    heartbeats.ask_to_stop(engine, worker=Worker.here())  # another start of it
    assert work.safe_point(drop) == "continue"
    heartbeats.ask_to_stop(engine, worker=worker)
    assert work.safe_point(drop) == "drain"
    with engine.begin() as connection:
        wanted.cancel(connection, drop.id)
    assert work.safe_point(drop) == "cancel"


def test_a_run_that_starts_again_is_not_asked_any_more(
    engine: sa.Engine, claim: Claim, worker: Worker
) -> None:
    heartbeats.ask_to_stop(engine, worker=worker)
    heartbeats.end(engine, run_id=claim.run_id, worker=worker)
    assert heartbeats.claim(engine, run_id=claim.run_id, worker=worker, pid=worker.pid, lease_s=60)
    with engine.connect() as connection:
        assert not heartbeats.is_asked_to_stop(connection, run_id=claim.run_id)


def test_a_run_whose_drop_was_given_away_stops(engine: sa.Engine, claim: Claim, work: LongWork) -> None:
    with engine.begin() as connection:
        finishing.give_back(connection, claim.claim_id, error={}, transient=True, delay_s=0, max_attempts=4)
    with pytest.raises(ClaimLostError, match="no longer held"):
        work.safe_point(claim.drops[0])


def test_a_rebuild_goes_on_with_what_was_done_before(
    engine: sa.Engine, claim: Claim, said: list[str]
) -> None:
    with engine.begin() as connection:
        finishing.finish(connection, claim, [DropOutcome(drop_of(claim), {})])
        again = claims.claim_partition(
            connection, [LANE], flow=LANE.flow, partition=LANE.partition, claim_id="again", run_id="again", lease_s=60,
            take_open=True,
        )  # fmt: skip
    assert LongWork(engine, again, say=said.append).safe_point(again.drops[0]) == "continue"


def test_a_rebuild_that_lost_its_lane_stops(engine: sa.Engine, claim: Claim, said: list[str]) -> None:
    with engine.begin() as connection:
        finishing.finish(connection, claim, [DropOutcome(drop_of(claim), {})])
        late, _quick = (
            claims.claim_partition(
                connection, [LANE], flow=LANE.flow, partition=LANE.partition, claim_id=run, run_id=run, lease_s=-1,
                take_open=True,
            )
            for run in ("late", "quick")
        )  # fmt: skip
    with pytest.raises(ClaimLostError, match="run late no longer holds the lane"):
        LongWork(engine, late, say=said.append).safe_point(late.drops[0])


def test_progress_stands_in_the_receipt_and_now_and_then_in_the_log(
    engine: sa.Engine, claim: Claim, work: LongWork, said: list[str]
) -> None:
    (drop,) = claim.drops
    work.progress(drop, {"files": 1, "of": 9})
    work.flush()
    assert said == []
    work = LongWork(engine, claim, say=said.append, said_after_s=0)
    work.progress(drop, {"files": 2, "of": 9})
    assert said == [f"Payload {drop.id}: files 2, of 9"]
    work.flush()
    with engine.connect() as connection:
        told = ledger.read_receipts(connection, [drop.id])[drop.id].progress
    assert told is not None
    assert (told["number"], told["state"]) == (2, {"files": 2, "of": 9})
