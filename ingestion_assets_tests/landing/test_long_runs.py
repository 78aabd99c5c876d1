"""What a run says of payloads that take long: how far it is, what is wanted of them, and that they go back unfinished."""

import time
from collections.abc import Callable
from uuid import UUID

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from ingestion_assets.landing import (
    claims,
    dispatch,
    drop_queries,
    finishing,
    leases,
    ledger,
    redriving,
    rejects,
    retention,
    safe_points,
    wanted,
)
from ingestion_assets.landing.channels import PROGRESS
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.holding import let_go
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.progress import MOST_BYTES, ProgressWriter, note_progress
from ingestion_assets_tests.landing.ledger_for_tests import LANE, NOTES, accept_all, note, take

GIVEN_BACK = {"error": {"code": "run_lost", "reason": "lost"}, "delay_s": 0, "max_attempts": 4}
Ask = Callable[[sa.Connection, UUID], bool]


@pytest.fixture
def drop(engine: sa.Engine, storage: LocalStorage) -> UUID:
    (landed,) = accept_all(engine, storage, [note()])
    return landed


def receipt(engine: sa.Engine, drop: UUID) -> Receipt:
    with engine.connect() as connection:
        return ledger.read_receipts(connection, [drop])[drop]


def ask(engine: sa.Engine, what: Ask, drop: UUID) -> bool:
    with engine.begin() as connection:
        return what(connection, drop)


def end(engine: sa.Engine, claim: claims.Claim, **how: bool) -> None:
    with engine.begin() as connection:
        finishing.finish(connection, claim, [DropOutcome(one.id, {}, **how) for one in claim.drops])


def attempts(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT max(attempts) FROM ingestion.drops"))


def test_what_is_unfinished_goes_back_at_no_cost_and_its_lane_does_not_rest(
    engine: sa.Engine, drop: UUID
) -> None:
    with engine.begin() as connection:
        (first,) = dispatch.request(connection, [LANE])
    end(engine, take(engine, "first", dispatch_id=first.id), unfinished=True)
    assert (receipt(engine, drop).state, receipt(engine, drop).result, attempts(engine)) == (
        "landed",
        None,
        0,
    )
    with engine.begin() as connection:
        (state,) = dispatch.lane_states(connection, flows=["notes"], rest_s=300)
        assert dispatch.lanes_to_dispatch([state], at_most=9) == [LANE]
    again = take(engine, "second")
    assert [one.id for one in again.drops] == [drop]
    end(engine, again)
    assert receipt(engine, drop).state == "done"


def tell(engine: sa.Engine, claim: claims.Claim, step: int) -> None:
    with engine.begin() as connection:
        note_progress(connection, claim.claim_id, {one.id: b'{"step": %d}' % step for one in claim.drops})


def next_in_s(engine: sa.Engine) -> float:
    """Seconds from its end until the drop may be taken again; then it may be, at once."""
    with engine.begin() as connection:
        wait_s = connection.scalar(
            sa.text("""
                SELECT greatest(0, extract(epoch FROM not_before - queued_at)) FROM ingestion.drops WHERE state = 'landed'
            """)
        )
        connection.execute(sa.text("UPDATE ingestion.drops SET not_before = NULL"))
    return round(float(wait_s or 0))


def test_what_never_comes_on_is_taken_again_ever_later_until_it_does(engine: sa.Engine, drop: UUID) -> None:
    waits = []
    for number in range(9):
        end(engine, take(engine, f"run {number}"), unfinished=True)
        waits.append(next_in_s(engine))
    assert waits == [0, 1, 3, 7, 15, 31, 60, 60, 60]
    claim = take(engine, "comes on")
    tell(engine, claim, 1)
    end(engine, claim, unfinished=True)
    assert next_in_s(engine) == 0
    end(engine, take(engine, "stands still, for the first time"), unfinished=True)
    assert next_in_s(engine) == 0
    assert receipt(engine, drop).state == "landed"


def lose(engine: sa.Engine, claim: claims.Claim) -> None:
    """As a run whose process was killed."""
    with engine.begin() as connection:
        finishing.give_back(connection, claim.claim_id, transient=False, **GIVEN_BACK)
        leases.release(connection, claim.run_id)


def test_a_lost_run_that_came_on_costs_no_attempt_and_a_poisonous_payload_ends_all_the_same(
    engine: sa.Engine, drop: UUID
) -> None:
    lose(engine, take(engine, "no step"))
    assert attempts(engine) == 1
    lost = 0
    while receipt(engine, drop).state == "landed":
        claim = take(engine, f"run {lost}")
        tell(engine, claim, 1)
        lose(engine, claim)
        lost += 1
        assert attempts(engine) == max(1, lost - finishing.MOST_NOT_COUNTED + 2)
    assert lost == finishing.MOST_NOT_COUNTED - 1 + 3
    assert receipt(engine, drop).state == "failed"


def test_a_lost_run_of_several_payloads_is_an_attempt_of_each(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    accept_all(engine, storage, [note(), note(b"[2]")])
    claim = take(engine, "run")
    tell(engine, claim, 1)
    lose(engine, claim)
    assert attempts(engine) == 1


def test_a_pause_reaches_the_run_holds_what_it_gives_back_and_a_resume_ends_it(
    engine: sa.Engine, drop: UUID
) -> None:
    claim = take(engine, "run")
    assert ask(engine, wanted.pause, drop)
    assert (receipt(engine, drop).state, receipt(engine, drop).wanted) == ("claimed", "pause")
    with engine.connect() as connection:
        assert safe_points.wanted_of(connection, claim, claim.drops[0]) == "pause"
    end(engine, claim, unfinished=True)
    held = receipt(engine, drop)
    assert (held.state, held.wanted, held.finished_at) == ("held", "pause", None)
    assert held.errors == [wanted.PAUSED]
    assert take(engine, "other").drops == ()
    assert ask(engine, wanted.pause, drop)  # again: nothing new
    assert ask(engine, wanted.resume, drop)
    gone_on = receipt(engine, drop)
    assert (gone_on.state, gone_on.wanted, gone_on.errors) == ("landed", None, None)
    end(engine, take(engine, "other"))
    assert not ask(engine, wanted.pause, drop)
    assert not ask(engine, wanted.resume, drop)
    assert not ask(engine, wanted.cancel, drop)


def test_a_resume_that_comes_before_the_safe_point_undoes_the_pause(engine: sa.Engine, drop: UUID) -> None:
    claim = take(engine, "run")
    ask(engine, wanted.pause, drop)
    assert ask(engine, wanted.resume, drop)
    end(engine, claim, unfinished=True)  # the run had seen the pause already
    assert receipt(engine, drop).state == "landed"


def test_a_run_that_finishes_first_has_the_last_word(engine: sa.Engine, drop: UUID) -> None:
    claim = take(engine, "run")
    ask(engine, wanted.cancel, drop)
    end(engine, claim)
    assert (receipt(engine, drop).state, receipt(engine, drop).wanted) == ("done", None)
    with engine.connect() as connection, pytest.raises(claims.ClaimLostError):
        safe_points.wanted_of(connection, claim, claim.drops[0])


@pytest.mark.parametrize("how", ["unfinished", "held", "lost", "lost for good"])
def test_a_cancel_ends_whatever_the_run_does_not_finish(engine: sa.Engine, drop: UUID, how: str) -> None:
    claim = take(engine, "run")
    ask(engine, wanted.pause, drop)
    assert ask(engine, wanted.cancel, drop)
    assert not ask(engine, wanted.pause, drop)
    if how in {"unfinished", "held"}:
        end(engine, claim, **{how: True})
    else:
        most = 1 if how == "lost for good" else 4
        with engine.begin() as connection:
            finishing.give_back(connection, "run", transient=False, **GIVEN_BACK | {"max_attempts": most})
            leases.release(connection, "run")
    cancelled = receipt(engine, drop)
    assert (cancelled.state, cancelled.errors) == ("failed", [wanted.CANCELLED])
    assert cancelled.finished_at is not None
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ingestion.rejects")) == 0
    assert ask(engine, wanted.cancel, drop)  # again: nothing new


def test_a_lost_run_does_not_undo_a_pause(engine: sa.Engine, drop: UUID) -> None:
    take(engine, "run")
    ask(engine, wanted.pause, drop)
    with engine.begin() as connection:
        finishing.give_back(connection, "run", transient=False, **GIVEN_BACK)
        leases.release(connection, "run")
    assert (receipt(engine, drop).state, attempts(engine)) == ("held", 1)


@pytest.mark.parametrize(
    ("ask_for", "state"), [(wanted.pause, "held"), (wanted.cancel, "failed"), (wanted.resume, "landed")]
)
def test_what_no_run_works_on_is_paused_or_cancelled_at_once(
    engine: sa.Engine, drop: UUID, ask_for: Ask, state: str
) -> None:
    assert ask(engine, ask_for, drop)
    assert receipt(engine, drop).state == state
    assert len(take(engine, "run").drops) == (state == "landed")


def test_what_is_held_by_its_flow_is_not_resumed_but_can_be_cancelled(engine: sa.Engine, drop: UUID) -> None:
    end(engine, take(engine, "run"), held=True)
    assert not ask(engine, wanted.resume, drop)
    assert not ask(engine, wanted.pause, drop)
    assert ask(engine, wanted.cancel, drop)
    assert receipt(engine, drop).state == "failed"


def test_a_confirmation_lets_a_paused_payload_go(engine: sa.Engine, drop: UUID) -> None:
    ask(engine, wanted.pause, drop)
    with engine.begin() as connection:
        assert let_go(connection, drop, flow="notes", attributes={"confirmed": "true"})
    assert len(take(engine, "run").drops) == 1


def test_a_rebuild_leaves_what_was_cancelled(engine: sa.Engine, drop: UUID) -> None:
    ask(engine, wanted.cancel, drop)
    with engine.begin() as connection:
        claim = claims.claim_partition(
            connection, [LANE], flow="notes", partition=LANE.partition, claim_id="person", run_id="person",
            lease_s=30, take_open=True,
        )  # fmt: skip
    assert claim.drops == ()
    assert receipt(engine, drop).state == "failed"


def test_progress_is_numbered_told_and_bounded_in_time(engine: sa.Engine, drop: UUID) -> None:
    claim = take(engine, "run")
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    writer = ProgressWriter(engine, claim.claim_id, every_s=0.2)
    with psycopg.connect(address, autocommit=True) as listening:
        listening.execute(f"LISTEN {PROGRESS}")
        started = time.monotonic()
        steps = 0
        while time.monotonic() - started < 1:
            steps += 1
            writer.note(drop, {"step": steps})
        told = [one.payload for one in listening.notifies(timeout=1, stop_after=None)]
    took = time.monotonic() - started
    shown = receipt(engine, drop).progress
    assert shown is not None
    assert shown["state"] == {"step": steps}  # the last one is written, though nothing followed it
    assert 2 <= shown["number"] <= took / 0.2 + 2
    assert told == [str(drop)] * shown["number"]
    assert steps > 10 * shown["number"]


def test_only_the_run_that_holds_a_payload_tells_of_it(engine: sa.Engine, drop: UUID) -> None:
    ProgressWriter(engine, "nobody").note(drop, {"step": 1})
    assert receipt(engine, drop).progress is None
    writer = ProgressWriter(engine, take(engine, "run").claim_id)
    with pytest.raises(ValueError, match=r"a state of .* bytes is too large"):
        writer.note(drop, {"text": "x" * MOST_BYTES})


def test_a_ledger_that_is_away_holds_up_no_run(drop: UUID) -> None:
    nowhere = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with capture_logs() as logs:
        ProgressWriter(nowhere, "run").note(drop, {"step": 1})
    assert [one["event"] for one in logs] == ["progress_not_written"]


def test_progress_goes_with_its_payload(engine: sa.Engine, storage: LocalStorage, drop: UUID) -> None:
    claim = take(engine, "run")
    ProgressWriter(engine, claim.claim_id).note(drop, {"step": 1})
    end(engine, claim)
    assert receipt(engine, drop).progress is not None
    with engine.connect() as connection:
        now = connection.scalar(sa.text("SELECT clock_timestamp()"))
    deleted = retention.delete_finished(engine, storage, [NOTES], before=now, holder="retention")
    assert deleted.payloads == 1
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ingestion.progress")) == 0


def test_a_payload_that_was_cancelled_after_its_redrive_is_redriven_once_more(
    engine: sa.Engine, drop: UUID
) -> None:
    take(engine, "run")
    with engine.begin() as connection:
        finishing.give_back(connection, "run", transient=False, **GIVEN_BACK | {"max_attempts": 1})
        leases.release(connection, "run")
        reject = rejects.get_reject(
            connection, connection.scalar(sa.text("SELECT id FROM ingestion.rejects"))
        )
    assert reject is not None
    redriving.take_again(engine, reject)
    assert ask(engine, wanted.cancel, drop)
    redriving.take_again(engine, reject)
    assert (receipt(engine, drop).state, receipt(engine, drop).wanted) == ("landed", None)


def test_what_came_on_has_all_its_attempts_again(engine: sa.Engine, drop: UUID) -> None:
    take(engine, "run")
    with engine.begin() as connection:
        finishing.give_back(connection, "run", transient=False, **GIVEN_BACK | {"delay_s": 0})
        leases.release(connection, "run")
    assert receipt(engine, drop).attempts == 1
    end(engine, take(engine, "second"), unfinished=True)
    assert receipt(engine, drop).attempts == 0


def test_a_run_takes_no_more_than_its_flow_says(engine: sa.Engine, storage: LocalStorage) -> None:
    accept_all(engine, storage, [note(), note(), note()])
    with engine.begin() as connection:
        claim = claims.claim_landed(
            connection, LANE, claim_id="run", run_id="run", dispatch_id=None, max_bytes=2**20, lease_s=30, max_drops=2
        )  # fmt: skip
    assert len(claim.drops) == 2


def test_a_paused_part_is_still_to_come(engine: sa.Engine, storage: LocalStorage) -> None:
    first, last = (
        accept_all(engine, storage, [msgspec.structs.replace(note(), attributes={"stream": "s"})])[0]
        for _ in range(2)
    )
    assert ask(engine, wanted.pause, first)
    claim = take(engine, "run")
    assert [one.id for one in claim.drops] == [last]
    (drop,) = claims.load(storage, claim.drops)
    with engine.connect() as connection:
        assert drop_queries.count_open_before(connection, drop, attribute="stream", apart_from=[last]) == 1
