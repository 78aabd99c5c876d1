"""Retention deletes what is finished and old, nothing else, wherever it is killed."""

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.event import listen

from ingestion_assets.landing import claims, late_segments, leases, rejects, retention
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.flows import Body, Flow, Keys
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.registration import Landed, register
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import segment_path

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=60)
LIMIT = NOW - timedelta(days=30)
NOTES = Flow(
    name="notes",
    read_inbox=lambda _name, content: [(Body(content, 1), {})],
    compose=lambda records, _attributes: Body(b"".join(records), len(records)),
)
SITES = replace(NOTES, name="sites", partitions=Keys(name="sites", needs_all=True))
REPOSITORIES = replace(NOTES, name="repositories", partitions=Keys(name="repositories"))
FLOWS = (NOTES, SITES, REPOSITORIES)
_FINISH = sa.text("UPDATE ingestion.drops SET state = :state, finished_at = :at WHERE id = ANY(:ids)")


def land(
    engine: sa.Engine,
    storage: LocalStorage,
    drops: Sequence[NewDrop],
    *,
    at: datetime = OLD,
    state: str = "done",
) -> list[UUID]:
    """Drops of one segment, ended `at` in this state."""
    packed = [pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=at) for drop in drops]
    path = segment_path(uuid_utils.compat.uuid7(), at)
    data, entries = encode(packed, path)
    storage.write(path, data)
    ids = [entry.header.id for entry in entries]
    with engine.begin() as connection:
        register(connection, [Landed(path, entry) for entry in entries])
        if state in {"done", "failed"}:
            connection.execute(_FINISH, {"state": state, "at": at, "ids": ids})
    return ids


def drop(flow: str = "notes", *, day: str = "2026-01-01") -> NewDrop:
    return NewDrop(flow=flow, partition=day, lane=day, principal="test", body=os.urandom(20), records=1)


def reconciled(engine: sa.Engine, storage: LocalStorage) -> int:
    """Payloads that are found without a row, wherever they lie."""
    return late_segments.register_late(engine, storage, sweep=late_segments.Sweep(storage)).registered


def keep_reject(engine: sa.Engine, drop_id: UUID, kind: str) -> UUID:
    outcome = DropOutcome(drop_id, {}, rejects=[Reject(0, kind, "odd", "it is odd", b"1")])
    with engine.begin() as connection:
        rejects.insert_rejects(connection, {drop_id: "notes"}, [outcome])
        return rejects.list_rejects(connection, receipt=drop_id).items[0].id


def present(engine: sa.Engine) -> set[UUID]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.text("SELECT id FROM ingestion.drops")))


def files(storage: LocalStorage) -> set[str]:
    return {path.relative_to(storage.root).as_posix() for path in storage.root.rglob("*.seg")}


def named(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.text("SELECT DISTINCT segment FROM ingestion.drops")))


def delete(engine: sa.Engine, storage: LocalStorage) -> retention.Deleted:
    return retention.delete_finished(engine, storage, FLOWS, before=LIMIT, holder="retention")


def test_what_is_finished_and_old_goes_with_its_file_and_folders(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    gone = land(engine, storage, [drop(), drop()]) + land(engine, storage, [drop()], state="failed")
    recent = land(engine, storage, [drop()], at=NOW - timedelta(days=29))
    waiting = land(engine, storage, [drop()], state="landed")
    storage.write(f"notes/accepted/{OLD:%Y-%m-%d}/old.jsonl", b"1")
    storage.write(f"notes/accepted/{NOW:%Y-%m-%d}/new.jsonl", b"1")
    reconciled(engine, storage)
    with engine.connect() as connection:
        planned = retention.plan(connection, FLOWS, before=LIMIT)
    assert [(old.flow, old.kept, old.payloads, old.bytes) for old in planned] == [("notes", False, 3, 60)]
    deleted = delete(engine, storage)
    assert (deleted.payloads, deleted.bytes, deleted.segments, deleted.inbox_days) == (3, 60, 2, 1)
    assert present(engine) == {*recent, *waiting}
    assert files(storage) == named(engine)
    assert storage.folders("notes/accepted") == [f"{NOW:%Y-%m-%d}"]
    assert not present(engine) & set(gone)
    assert delete(engine, storage) == retention.Deleted()


def test_in_partitions_that_never_close_payloads_go_by_their_age_unless_a_rebuild_needs_them_all(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    needed = land(engine, storage, [drop("sites", day="7")])
    land(engine, storage, [drop("repositories", day="example.com/one")])
    recent = land(engine, storage, [drop("repositories", day="example.com/one")], at=NOW)
    with engine.connect() as connection:
        planned = retention.plan(connection, FLOWS, before=LIMIT)
    assert [(old.flow, old.payloads) for old in planned] == [("repositories", 1)]
    assert delete(engine, storage).payloads == 1
    assert present(engine) == {*needed, *recent}


def test_a_shared_segment_stays_until_the_last_of_its_payloads_goes(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    _, second = land(engine, storage, [drop(), drop(day="2026-01-02")])
    with engine.begin() as connection:
        connection.execute(_FINISH, {"state": "done", "at": NOW, "ids": [second]})
    reconciled(engine, storage)
    assert delete(engine, storage).segments == 0
    assert (present(engine), len(files(storage))) == ({second}, 1)
    assert reconciled(engine, storage) == 0
    with engine.begin() as connection:
        connection.execute(_FINISH, {"state": "done", "at": OLD, "ids": [second]})
    assert delete(engine, storage).segments == 1
    assert (present(engine), files(storage)) == (set(), set())


def test_an_open_reject_keeps_its_payload_until_it_is_dealt_with(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    invalid, conflict = (land(engine, storage, [drop()])[0] for _ in range(2))
    reject = keep_reject(engine, invalid, "invalid")
    keep_reject(engine, conflict, "conflict")
    reconciled(engine, storage)
    delete(engine, storage)
    assert present(engine) == {invalid}
    with engine.connect() as connection:
        assert [(old.kept, old.payloads) for old in retention.plan(connection, FLOWS, before=LIMIT)] == [
            (True, 1)
        ]
    with engine.begin() as connection:
        assert rejects.discard(connection, [reject]) == 1
    delete(engine, storage)
    assert present(engine) == set()


def test_partitions_that_never_close_keep_all_they_are_rebuilt_from(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    ids = land(engine, storage, [drop("sites", day="1")])
    reconciled(engine, storage)
    delete(engine, storage)
    assert present(engine) == set(ids)


def test_a_lane_at_work_is_left_for_the_next_time(engine: sa.Engine, storage: LocalStorage) -> None:
    busy = land(engine, storage, [drop()])
    land(engine, storage, [drop(day="2026-01-02")])
    reconciled(engine, storage)
    with engine.begin() as connection:
        leases.take_lease(connection, Lane("notes", "2026-01-01", "2026-01-01"), run_id="rebuild", lease_s=60)
    assert delete(engine, storage).busy_lanes == 1
    assert present(engine) == set(busy)


def test_a_segment_of_which_some_cannot_be_read_stays(engine: sa.Engine, storage: LocalStorage) -> None:
    """Its rows go, but what could not be read of it may still be restored."""
    ids = land(engine, storage, [drop()])
    (path,) = files(storage)
    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO ingestion.unreadable_segments (path, reason) VALUES (:path, 'damaged')"),
            {"path": path},
        )
    delete(engine, storage)
    assert (present(engine), files(storage)) == (set(), {path})
    assert not present(engine) & set(ids)
    with engine.begin() as connection:
        assert late_segments.discard(connection, storage, path)
    delete(engine, storage)
    assert (reconciled(engine, storage), len(list(storage.root.glob("segments/**/*.seg")))) == (0, 0)


@pytest.fixture
def backlog(engine: sa.Engine, storage: LocalStorage) -> Iterator[set[UUID]]:
    """Many old payloads in segments that days share; gives those among them that must stay."""
    days = [f"2026-01-{number:02d}" for number in range(1, 7)]
    keep: set[UUID] = set()
    for number in range(40):
        ids = land(engine, storage, [drop(day=day) for day in random.Random(number).sample(days, 3)])
        if number % 8 == 0:
            keep_reject(engine, ids[0], "invalid")
            keep.add(ids[0])
    keep.update(land(engine, storage, [drop("sites", day="1")]))
    keep.update(land(engine, storage, [drop()], state="landed"))
    keep.update(land(engine, storage, [drop()], at=NOW))
    reconciled(engine, storage)
    yield keep


def test_killed_anywhere_it_loses_nothing_and_goes_on(
    engine: sa.Engine, storage: LocalStorage, backlog: set[UUID]
) -> None:
    fork = multiprocessing.get_context("fork")
    url, kills, steps = engine.url.render_as_string(hide_password=False), 0, random.Random(5)
    engine.dispose()
    for number in range(100):
        child = fork.Process(
            target=_delete_and_die, args=(url, storage.root, steps.randint(1, 10 + 3 * number))
        )
        child.start()
        child.join(60)
        _assert_all_is_there(engine, storage, backlog)
        engine.dispose()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    print(f"killed {kills} times")
    assert kills >= 10
    assert present(engine) == backlog
    assert files(storage) == named(engine)
    with engine.connect() as connection:
        for table in ("leases", "retired_segments"):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM ingestion.{table}")) == 0


def _delete_and_die(url: str, root: Path, steps: int) -> None:
    """Delete what is old; this process dies at a step: before a statement, before a commit, or after a file went."""
    left = iter(range(steps))

    def step(*_: object) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    class DyingStorage(LocalStorage):
        def remove(self, path: str) -> None:
            super().remove(path)
            step()

    engine = sa.create_engine(url)
    listen(engine, "before_cursor_execute", step)
    listen(engine, "commit", step)
    delete(engine, DyingStorage(root))


def _assert_all_is_there(engine: sa.Engine, storage: LocalStorage, keep: set[UUID]) -> None:
    assert keep <= present(engine)
    assert named(engine) <= files(storage), "a row names a file that is gone"
    assert reconciled(engine, storage) == 0, "a deleted payload was registered again"
    with engine.connect() as connection, connection.begin() as transaction:
        lanes = claims.partition_lanes(connection, flow="notes", partition="2026-01-01")
        claim = claims.claim_partition(
            connection, lanes, flow="notes", partition="2026-01-01", claim_id="r", run_id="r", lease_s=60, take_open=True
        )  # fmt: skip
        assert len(claims.load(storage, claim.drops)) == len(claim.drops), "a rebuild works all the time"
        transaction.rollback()
