"""The spine on a real ledger: accept, register late, claim, finish, give back, redrive."""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.landing import (
    claims,
    dispatch,
    finishing,
    late_segments,
    leases,
    ledger,
    redriving,
    registering,
    rejects,
)
from ingestion_assets.landing import intake as intake_module
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome, Reject
from ingestion_assets.landing.drops import (
    Accepted,
    IdempotencyConflictError,
    LandingUnavailableError,
    Lane,
    NewDrop,
)
from ingestion_assets.landing.flows import Body, RefusedError, Runs
from ingestion_assets.landing.inbox import Inboxes, Taken
from ingestion_assets.landing.intake import Intake
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.registration import Landed, register
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import segment_path
from ingestion_assets.stores.postgres import async_engine
from ingestion_assets_tests.landing.ledger_for_tests import (
    LANE,
    NOTES,
    accept_all,
    done,
    note,
    take,
    with_intake,
)
from ingestion_assets_tests.servers import wait_until


def states(engine: sa.Engine) -> dict[UUID, str]:
    with engine.connect() as connection:
        return {
            row.id: row.state for row in connection.execute(sa.text("SELECT id, state FROM ingestion.drops"))
        }


def test_requests_that_arrive_together_share_a_segment(engine: sa.Engine, storage: LocalStorage) -> None:
    async def work(intake: Intake) -> list[UUID]:
        return [a.id for a in await asyncio.gather(*(intake.accept(note(b"%d" % n)) for n in range(200)))]

    ids, woken = with_intake(engine, storage, work)
    assert woken == {LANE}
    assert set(states(engine)) == set(ids)
    segments = list((storage.root / "segments").rglob("*.seg"))
    assert 1 <= len(segments) < 50
    claim = take(engine, "run")
    bodies = {drop.id: drop.body for drop in claims.load(storage, claim.drops)}
    assert bodies == {drop_id: b"%d" % n for n, drop_id in enumerate(ids)}


def test_payloads_that_cannot_be_made_are_refused_alone(engine: sa.Engine, storage: LocalStorage) -> None:
    def make(number: int) -> NewDrop:
        if number % 3 == 0:
            raise ValueError(number)
        return note(b"%d" % number)

    async def work(intake: Intake) -> list[object]:
        asked = (
            intake.accept_made(partial(make, number), size=1, keyed=False, early=False)
            for number in range(100)
        )
        return await asyncio.gather(*asked, return_exceptions=True)

    answers, _ = with_intake(engine, storage, work)
    for number, answer in enumerate(answers):
        if number % 3 == 0:
            assert isinstance(answer, ValueError)
            assert answer.args == (number,)
        else:
            assert isinstance(answer, Accepted)
            assert (answer.header.records, answer.header.size) == (1, len(str(number)))
    bodies = [drop.body for drop in claims.load(storage, take(engine, "run").drops)]
    assert sorted(bodies) == sorted(b"%d" % number for number in range(100) if number % 3)


@pytest.mark.parametrize("key", [None, "second"])
def test_a_connection_lost_between_payloads_is_made_again(
    engine: sa.Engine, storage: LocalStorage, key: str | None
) -> None:
    async def work(intake: Intake) -> bool:
        await intake.accept(note())
        with engine.begin() as connection:
            cut = sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%ingestion.drops%'"
            )
            assert connection.execute(cut).scalars().all() == [True]
        return (await intake.accept(note(b"second", key))).registered

    registered, _ = with_intake(engine, storage, work)
    assert registered


def test_an_idempotency_key_gives_the_first_receipt_and_refuses_another_body(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    async def work(intake: Intake) -> None:
        together = await asyncio.gather(*(intake.accept(note(b"a", "key")) for _ in range(5)))
        again = await intake.accept(note(b"a", "key"))
        assert {one.id for one in together} == {again.id}
        assert again.replayed
        with pytest.raises(IdempotencyConflictError):
            await intake.accept(note(b"b", "key"))

    with_intake(engine, storage, work)
    assert len(take(engine, "run").drops) == 1


def test_a_ledger_that_hangs_holds_up_nobody_for_long(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "LEDGER_WAIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        url = f"postgresql+psycopg://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        hanging = sa.create_engine(url, connect_args={"connect_timeout": 4})

        async def work(intake: Intake) -> float:
            asked = asyncio.get_running_loop().time()
            keyed = [note(b"a", "one"), note(b"b", "two"), note(b"c", "three")]
            large = note(b" " * (intake_module.SMALL + 1))
            for accepted in await asyncio.gather(*map(intake.accept, [*keyed, large])):
                assert not accepted.registered
            return asyncio.get_running_loop().time() - asked

        took, _ = with_intake(hanging, storage, work)
    assert took < 3


def test_payloads_are_accepted_while_the_ledger_is_down_and_registered_later_once(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    nowhere = sa.create_engine(
        "postgresql+psycopg://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1}
    )

    async def work(intake: Intake) -> list[UUID]:
        accepted = [await intake.accept(note(b"a", "key")), await intake.accept(note(b"a", "key"))]
        accepted.append(await intake.accept(note(b"other", "key")))
        assert not any(one.registered for one in accepted)
        return [one.id for one in accepted]

    (first, twin, other), _ = with_intake(nowhere, storage, work)
    assert late_segments.register_late(engine, storage).registered == 3
    assert late_segments.register_late(engine, storage).registered == 0
    assert states(engine) == {first: "landed", twin: "done", other: "failed"}

    async def look(asynchronous: AsyncEngine) -> None:
        found = await ledger.receipts(asynchronous, [first, twin, other])
        assert found[twin].id == first
        assert found[other].errors is not None
        assert found[other].errors[0]["code"] == "idempotency_conflict"
        figures = await ledger.statistics(asynchronous)
        assert figures.finished_last_hour == {}, (
            "a second name of a receipt is no payload that failed, or was done"
        )
        assert figures.unfinished == {("notes", "landed"): 1}
        await asynchronous.dispose()

    asyncio.run(look(async_engine(engine.url.render_as_string(hide_password=False))))


def test_a_full_disk_refuses_the_payload_and_leaves_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "landing")
    (tmp_path / "landing" / "segments").write_text("a file where a folder should be")

    async def work(intake: Intake) -> None:
        with pytest.raises(LandingUnavailableError):
            await intake.accept(note())

    with_intake(engine, storage, work)
    assert states(engine) == {}


def test_two_runs_never_hold_one_lane_and_a_lease_that_ended_is_taken_over(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    accept_all(engine, storage, [note()])
    first = take(engine, "first")
    with pytest.raises(leases.LaneBusyError, match="first"):
        take(engine, "second")
    assert take(engine, "first") == first
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.leases SET expires_at = now() - interval '1 s'"))
    assert take(engine, "second").drops == ()
    with engine.begin() as connection:
        finishing.finish(connection, first, done(first))


def test_a_run_whose_claim_was_given_away_writes_nothing(engine: sa.Engine, storage: LocalStorage) -> None:
    accept_all(engine, storage, [note()])
    claim = take(engine, "slow")
    with engine.begin() as connection:
        finishing.give_back(
            connection, "slow", error={"code": "lost"}, transient=True, delay_s=0, max_attempts=3
        )
        leases.release(connection, "slow")
    taken = take(engine, "quick")
    assert [drop.id for drop in taken.drops] == [drop.id for drop in claim.drops]
    with pytest.raises(claims.ClaimLostError), engine.begin() as connection:
        finishing.finish(connection, claim, done(claim))
    with engine.begin() as connection:
        finishing.finish(connection, taken, done(taken))
    assert set(states(engine).values()) == {"done"}


def test_claims_are_bounded_by_bytes_and_the_rest_wait(engine: sa.Engine, storage: LocalStorage) -> None:
    ids = accept_all(engine, storage, [note(b"x" * 400) for _ in range(5)])
    assert len(take(engine, "run", max_bytes=1000).drops) == 2
    assert sum(state == "landed" for state in states(engine).values()) == len(ids) - 2


def test_what_lands_meanwhile_joins_a_claim_where_it_is_much(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    def join(claim: claims.Claim, **bounds: int) -> list[UUID]:
        with engine.begin() as connection:
            joined = claims.join_landed(
                connection, claim, **{"max_bytes": 1000, "from_drops": 100, "from_bytes": 600, **bounds}
            )
        claim.add(joined)
        return [drop.id for drop in joined]

    def attempts(number: int, ids: list[UUID]) -> None:
        with engine.begin() as connection:
            statement = sa.text("UPDATE ingestion.drops SET attempts = :number WHERE id = ANY(:ids)")
            connection.execute(statement, {"number": number, "ids": ids})

    first = accept_all(engine, storage, [note(b"x" * 300)])
    claim = take(engine, "run")
    more = accept_all(engine, storage, [note(b"x" * 300)])
    assert join(claim) == [], "it is little"
    more += accept_all(engine, storage, [note(b"x" * 300) for _ in range(2)])
    attempts(2, first)
    assert join(claim) == [], "the first is to be alone"
    attempts(0, first)
    attempts(2, more[:1])
    assert join(claim) == [], "the next is to be alone"
    attempts(0, more)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.leases SET holder = 'another'"))
    assert join(claim) == [], "the lane is another's"
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.leases SET holder = 'run'"))
    assert join(claim, max_drops=2, from_bytes=300) == more[:1]
    assert join(claim, from_drops=2) == more[1:2], "no more than the claim may have together"
    assert [drop.id for drop in claim.drops] == first + more[:2]
    assert take(engine, "run") == claim, "a second try goes on with all of it"
    with engine.begin() as connection:
        finishing.finish(connection, claim, done(claim))
    assert list(states(engine).values()).count("done") == 3


def test_a_drop_that_was_in_failing_runs_is_taken_alone_and_ends_as_failed(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    ids = accept_all(engine, storage, [note() for _ in range(3)])
    error = {"code": "crash", "reason": "the worker died"}
    sizes = []
    for attempt in range(4):
        claim = take(engine, f"run {attempt}")
        sizes.append(len(claim.drops))
        with engine.begin() as connection:
            finishing.give_back(
                connection, claim.run_id, error=error, transient=False, delay_s=0, max_attempts=3
            )
            leases.release(connection, claim.run_id)
    assert sizes == [3, 3, 1, 1]
    assert sorted(states(engine).values()) == ["failed", "failed", "landed"]
    with engine.connect() as connection:
        kept = rejects.list_rejects(connection, kind="payload").items
    assert {reject.receipt for reject in kept} < set(ids)
    assert kept[0].reason == "the worker died"

    async def work(intake: Intake) -> None:
        await redriving.redrive(engine, intake, {"notes": NOTES}, kept)

    with_intake(engine, storage, work)
    assert set(states(engine).values()) == {"landed"}
    again = take(engine, "again")
    with engine.begin() as connection:
        assert rejects.list_rejects(connection, open_only=True).items == []
        error["reason"] = "and again"
        finishing.give_back(connection, "again", error=error, transient=False, delay_s=0, max_attempts=1)
        opened = rejects.list_rejects(connection, open_only=True).items
    assert {reject.receipt for reject in opened} == {drop.id for drop in again.drops}
    assert {reject.reason for reject in opened} == {"and again"}


def test_drops_that_are_taken_alone_do_not_wait_for_ever(engine: sa.Engine, storage: LocalStorage) -> None:
    old = accept_all(engine, storage, [note(), note()])
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.drops SET attempts = 2"))
    new = accept_all(engine, storage, [note(), note()])
    taken = []
    while (claim := take(engine, f"run {len(taken)}")).drops:
        taken.append([drop.id for drop in claim.drops])
        with engine.begin() as connection:
            finishing.finish(connection, claim, done(claim))
    assert taken == [[drop_id] for drop_id in sorted(old)] + [sorted(new)]


def test_finishing_keeps_outcomes_and_rejects_and_frees_the_lane(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    (drop_id,) = accept_all(engine, storage, [note(b"[1,2]")])
    claim = take(engine, "run")
    outcome = DropOutcome(
        drop_id,
        {"n": 2},
        [RecordOutcome("stored", "a"), RecordOutcome("rejected", code="no_type", reason="type is missing")],
        [Reject(1, "invalid", "no_type", "type is missing", b"2")],
    )
    with engine.begin() as connection:
        finishing.finish(connection, claim, [outcome])
    assert take(engine, "next").drops == ()

    async def look(asynchronous: AsyncEngine) -> None:
        receipt = await ledger.receipt(asynchronous, drop_id)
        assert receipt is not None
        assert (receipt.state, receipt.result) == ("done", {"n": 2})
        assert await ledger.record_outcomes(asynchronous, drop_id) == [
            {"index": 0, "status": "stored", "id": "a"},
            {"index": 1, "status": "rejected", "code": "no_type", "reason": "type is missing"},
        ]
        await asynchronous.dispose()

    asyncio.run(look(async_engine(engine.url.render_as_string(hide_password=False))))

    async def work(intake: Intake) -> UUID:
        with engine.connect() as connection:
            chosen = rejects.list_rejects(connection, receipt=drop_id).items
        (redriven,), left = await redriving.redrive(engine, intake, {"notes": NOTES}, chosen)
        assert left == []
        return redriven.receipt

    again, _ = with_intake(engine, storage, work)
    assert states(engine)[again] == "landed"


def test_rejects_that_their_flow_refuses_are_left_and_keep_no_others(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    ids = accept_all(engine, storage, [note(), note()])
    with engine.begin() as connection:
        for drop_id, record in zip(ids, (b"good", b"odd"), strict=True):
            bad = [Reject(0, "invalid", "no_type", "no", record)]
            rejects.insert_rejects(connection, {drop_id: "notes"}, [DropOutcome(drop_id, {}, rejects=bad)])
        chosen = rejects.list_rejects(connection).items

    def compose(records: Sequence[bytes], _attributes: Mapping[str, str]) -> Body:
        if b"odd" in records:
            raise RefusedError("it names no partition")
        return Body(b"".join(records), len(records))

    async def work(intake: Intake) -> list[str]:
        sent, left = await redriving.redrive(
            engine, intake, {"notes": replace(NOTES, compose=compose)}, chosen
        )
        assert len(sent) == 1
        return [one.reason for one in left]

    left, _ = with_intake(engine, storage, work)
    assert left == ["it names no partition"]


def test_a_redrive_made_twice_is_one_payload_and_what_must_go_alone_does(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    (drop_id,) = accept_all(engine, storage, [note()])
    records = [b"a", b"b", b"!"]
    bad = [Reject(index, "invalid", "no_type", "no", record) for index, record in enumerate(records)]
    with engine.begin() as connection:
        rejects.insert_rejects(connection, {drop_id: "notes"}, [DropOutcome(drop_id, {}, rejects=bad)])
        chosen = rejects.list_rejects(connection, receipt=drop_id).items
    flows = {"notes": replace(NOTES, redriven_alone=lambda record: record == b"!")}

    async def redriven(intake: Intake, chosen: list[rejects.StoredReject]) -> list[UUID]:
        return [one.receipt for one in (await redriving.redrive(engine, intake, flows, chosen))[0]]

    async def twice(intake: Intake) -> tuple[list[UUID], list[UUID]]:
        return await asyncio.gather(redriven(intake, chosen), redriven(intake, chosen))

    (first, second), _ = with_intake(engine, storage, twice)
    together, also, alone = first
    assert first == second
    assert together == also != alone
    assert sum(state == "landed" for state in states(engine).values()) == 3

    with engine.connect() as connection:
        marked = rejects.list_rejects(connection, receipt=drop_id).items
    third, _ = with_intake(engine, storage, lambda intake: redriven(intake, marked))
    assert not {*third} & {*first}


def test_one_pending_dispatch_per_lane(engine: sa.Engine, storage: LocalStorage) -> None:
    accept_all(engine, storage, [note()])
    with engine.begin() as connection:
        lanes = dispatch.lanes_to_dispatch(dispatch.lane_states(connection, flows=["notes"]), at_most=9)
        assert lanes == [LANE]
        (first,) = dispatch.request(connection, lanes)
        assert dispatch.request(connection, lanes) == []
        states_now = dispatch.lane_states(connection, flows=["notes"])
        assert dispatch.lanes_to_dispatch(states_now, at_most=9) == []
    claim = take(engine, "run", dispatch_id=first.id)
    accept_all(engine, storage, [note()])
    with engine.begin() as connection:
        assert [state.leased for state in dispatch.lane_states(connection, flows=["notes"])] == [True]
        finishing.finish(connection, claim, done(claim))
        lanes = dispatch.lanes_to_dispatch(dispatch.lane_states(connection, flows=["notes"]), at_most=9)
        assert len(dispatch.request(connection, lanes)) == 1


def test_no_more_runs_are_asked_for_than_the_flow_allows(engine: sa.Engine, storage: LocalStorage) -> None:
    """A run that a person started counts too; the oldest lane is next, wherever room came from."""
    lanes = [Lane("notes", "2026-01-31", f"job {number}") for number in range(5)]
    accept_all(engine, storage, [note(lane=lane.name) for lane in lanes])
    runs = {"notes": Runs(at_once=3, priority=7)}

    def asked_for() -> list[dispatch.Dispatch]:
        with engine.begin() as connection:
            states_now = dispatch.lane_states(connection, flows=["notes"])
            room = dispatch.room(connection, runs)
            wanted = dispatch.lanes_to_dispatch(states_now, at_most=9, runs=runs, room=room)
            return dispatch.request(connection, wanted, dispatch.priorities(states_now, runs))

    with engine.begin() as connection:
        for lane in lanes[:2]:
            leases.take_lease(connection, lane, run_id="a person's", lease_s=60)
    first, second = asked_for()
    assert (first.lane, second.lane) == (lanes[2], lanes[3])
    assert first.tags()["dagster/priority"] == "1007"
    assert asked_for() == []
    claim = take(engine, "run", lane=first.lane, dispatch_id=first.id)
    assert asked_for() == []
    with engine.begin() as connection:
        finishing.finish(connection, claim, done(claim))
    assert [one.lane for one in asked_for()] == [lanes[4]]
    with engine.begin() as connection:
        leases.release(connection, "a person's")
    assert [one.lane for one in asked_for()] == [lanes[0]]
    assert asked_for() == []


def test_flows_of_a_higher_priority_go_first() -> None:
    now = datetime.now(UTC)
    early, late, urgent = (Lane(flow, "", name) for flow, name in [("a", "1"), ("a", "2"), ("b", "3")])
    states_now = [
        dispatch.LaneState(lane, now + timedelta(seconds=second), leased=False, pending=False)
        for second, lane in enumerate([early, late, urgent])
    ]
    runs = {"a": Runs(at_once=1), "b": Runs(priority=1)}
    assert dispatch.lanes_to_dispatch(states_now, at_most=9) == [early, late, urgent]
    assert dispatch.lanes_to_dispatch(states_now, at_most=9, runs=runs) == [urgent, early, late]
    assert dispatch.lanes_to_dispatch(states_now, at_most=9, runs=runs, room={"a": 1}) == [urgent, early]


def test_a_segment_without_rows_is_registered_once(engine: sa.Engine, storage: LocalStorage) -> None:
    now = datetime.now(UTC)
    packed = [pack(note(b"%d" % n), drop_id=uuid_utils.compat.uuid7(), received_at=now) for n in range(3)]
    path = segment_path(uuid_utils.compat.uuid7(), now)
    data, _ = encode(packed, path)
    storage.write(path, data)
    assert late_segments.register_late(engine, storage).registered == 3
    assert late_segments.register_late(engine, storage).registered == 0
    later = now + timedelta(hours=1)
    storage.write(segment_path(uuid_utils.compat.uuid7(), later), data)  # under another name
    assert len(late_segments.register_late(engine, storage, now=later).unreadable) == 1


def test_a_drop_that_postgresql_refuses_holds_up_no_other(engine: sa.Engine, storage: LocalStorage) -> None:
    now = datetime.now(UTC)
    too_long = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(2000))  # for an index
    keys = ("before", "nul \0", too_long, "after")
    packed = [pack(note(key=key), drop_id=uuid_utils.compat.uuid7(), received_at=now) for key in keys]
    refused = segment_path(uuid_utils.compat.uuid7(), now)
    storage.write(refused, encode(packed, refused)[0])
    another = pack(note(), drop_id=uuid_utils.compat.uuid7(), received_at=now)
    path = segment_path(uuid_utils.compat.uuid7(), now + timedelta(minutes=1))
    storage.write(path, encode([another], path)[0])
    found = late_segments.register_late(engine, storage, now=now)
    assert (found.registered, found.unreadable) == (3, (refused,))
    assert set(states(engine)) == {one.header.id for one in (packed[0], packed[3], another)}
    again = late_segments.register_late(engine, storage, now=now + timedelta(hours=1))
    assert (again.registered, again.unreadable) == (0, (refused,))


def test_inbox_files_become_drops_and_what_is_none_is_refused(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    inbox = storage.root / "notes" / "inbox"
    (inbox / "deep").mkdir(parents=True)
    (inbox / "deep" / "a.txt").write_text("1\n2\n")
    (inbox / "b.bad").write_text("?")
    (inbox / "c.txt.part").write_text("unfinished")
    inboxes = Inboxes(engine, storage, settled_s=0)
    assert inboxes.take(NOTES, max_bytes=100) == Taken()
    taken = inboxes.take(NOTES, max_bytes=100)
    assert taken == Taken(landed=1, refused=1)
    assert len(states(engine)) == 2
    assert (storage.root / "notes" / "refused" / "b.bad.reason.txt").read_text() == "not a note\n"
    assert [path.name for path in inbox.rglob("*") if path.is_file()] == ["c.txt.part"]
    (inbox / "deep" / "a.txt").write_text("1\n2\n")
    assert inboxes.take(NOTES, max_bytes=100) == Taken()
    again = inboxes.take(NOTES, max_bytes=100)
    assert again == Taken(landed=1), "the same file is the same payloads"
    assert sorted(states(engine).values()) == ["landed", "landed"]


def test_odd_inbox_files_hold_up_no_other(engine: sa.Engine, storage: LocalStorage) -> None:
    inbox = storage.root / "notes" / "inbox"
    inbox.mkdir(parents=True)
    latin = os.fsdecode("a\xfc.txt".encode("latin-1"))
    for name, content in (
        (latin, "1"),
        ("b.txt", "a payload that is too large"),
        ("c.txt", "2"),
        ("z.txt", "3"),
    ):
        (inbox / name).write_text(content)
    (storage.root / "notes" / "accepted").mkdir()
    blocked = storage.root / "notes" / "accepted" / f"{datetime.now(UTC):%Y-%m-%d}" / "c.txt"
    (blocked / "not empty").mkdir(parents=True)
    inboxes = Inboxes(engine, storage, settled_s=0)
    for landed in (Taken(), Taken(landed=1, refused=2, left=1), Taken(left=1)):
        taken = inboxes.take(NOTES, max_bytes=20)
        assert taken == landed
    assert sorted(states(engine).values()) == ["landed", "landed"]
    refused = storage.root / "notes" / "refused"
    assert "is not UTF-8" in (refused / f"{latin}.reason.txt").read_text()
    assert "27 bytes, more than the 20" in (refused / "b.txt.reason.txt").read_text()
    assert len(list((storage.root / "segments").rglob("*.seg"))) == 2


def test_landed_drops_are_registered_idempotently(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    _, entered = encode([pack(note(key="k"), drop_id=uuid_utils.compat.uuid7(), received_at=now)], "segment")
    landed = [Landed("segment", entry) for entry in entered]
    for _ in range(3):
        with engine.begin() as connection:
            assert register(connection, landed) == {}
    assert len(states(engine)) == 1


def test_a_ledger_that_does_not_answer_holds_up_nobody(
    engine: sa.Engine, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "LEDGER_WAIT_S", 0.2)

    async def work(intake: Intake) -> UUID:
        with engine.begin() as connection:
            connection.execute(sa.text("LOCK TABLE ingestion.drops IN ACCESS EXCLUSIVE MODE"))
            accepted = await intake.accept(note())
            assert not accepted.registered
        return accepted.id

    drop_id, _ = with_intake(engine, storage, work)
    assert states(engine) == {drop_id: "landed"}


async def is_held_up(accepting: "asyncio.Task[Accepted]") -> bool:
    return not (await asyncio.wait({accepting}, timeout=0.3))[0]


def test_after_a_pause_a_row_follows_at_once(
    engine: sa.Engine, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "GATHER_S", 3600.0)

    async def work(intake: Intake) -> None:
        first = await intake.accept(note(), early=True)
        await asyncio.to_thread(wait_until, lambda: first.id in states(engine), seconds=10, what="its row")
        next_one = await intake.accept(note(b"[2]"), early=True)
        assert next_one.id not in states(engine), "others may come"

    with_intake(engine, storage, work)


def test_payloads_that_nobody_waits_for_get_their_rows_later(
    engine: sa.Engine, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the ledger hangs they are acknowledged, but not without end; keyed ones are not."""
    monkeypatch.setattr(registering, "MOST_BEHIND", 5)
    monkeypatch.setattr(registering, "GATHER_S", 2.0)

    async def work(intake: Intake) -> list[UUID]:
        with engine.begin() as connection:
            connection.execute(sa.text("LOCK TABLE ingestion.drops IN ACCESS EXCLUSIVE MODE"))
            accepted = [await intake.accept(note(b"%d" % number), early=True) for number in range(5)]
            assert not any(one.registered for one in accepted)
            keyed = asyncio.create_task(intake.accept(note(b"keyed", "key"), early=True))
            assert await is_held_up(keyed)
            late = asyncio.create_task(intake.accept(note(b"late"), early=True))
            assert await is_held_up(late)
        for one in await asyncio.gather(keyed, late):
            assert one.registered
            accepted.append(one)
        begun = asyncio.get_running_loop().time()
        for number in range(20):  # none waits for others to come
            await intake.accept(note(b"waited %d" % number))
        assert asyncio.get_running_loop().time() - begun < 20 * registering.GATHER_S
        assert set(states(engine)) >= {one.id for one in accepted}
        last = await intake.accept(note(b"last"), early=True)
        return [one.id for one in [*accepted, last]]

    ids, woken = with_intake(engine, storage, work)
    assert woken == {LANE}
    assert set(states(engine)) >= set(ids), "what was acknowledged has its row when the intake has stopped"
