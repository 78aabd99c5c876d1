"""What lies on landing storage is registered, whenever it came there and whatever it is called; what cannot be read stays known."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.landing import claims, late_segments, rejects, unknown_flows
from ingestion_assets.landing.drops import LandingUnavailableError, Lane, NewDrop
from ingestion_assets.landing.late_segments import Sweep, register_late
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.segments import Packed, contents, encode, pack
from ingestion_assets.landing.storage import LandingStorage, open_storage, segment_path
from ingestion_assets.landing.tables import drops
from ingestion_assets.settings import Settings
from ingestion_assets_tests.servers import wait_until

LANE = Lane("notes", "2026-01-31", "2026-01-31")
NAME = "segments/2026-01-31/12-05/0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f.seg"


def packed(body: bytes = b"1", *, flow: str = LANE.flow) -> Packed:
    drop = NewDrop(
        flow=flow, partition=LANE.partition, lane=LANE.name, principal="test", body=body, records=1,
        attributes={"file": "a"},
    )  # fmt: skip
    return pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=datetime.now(UTC))


def put(storage: LandingStorage, path: str, *payloads: Packed) -> bytes:
    data, _ = encode(payloads, path)
    storage.write(path, data)
    return data


def path_now(*, off: timedelta = timedelta(0)) -> str:
    return segment_path(uuid_utils.compat.uuid7(), datetime.now(UTC) + off)


def known(engine: sa.Engine) -> set[UUID]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(drops.c.id)))


def unreadable(engine: sa.Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {row.path: row.reason for row in late_segments.list_unreadable(connection)}


@pytest.fixture(params=["folder", "object store"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LandingStorage]:
    (tmp_path / "landing").mkdir()
    url = None if request.param == "folder" else f"file://{tmp_path}/landing"
    yield open_storage(Settings(home=tmp_path, landing_url=url))


def test_a_segment_that_cannot_be_read_now_is_registered_once_it_can(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    one, other, path = packed(), packed(), path_now()
    put(storage, path_now(), one)
    broken = storage.root / path
    broken.symlink_to("/proc/self/mem")  # an input/output error at its first byte
    for _ in range(3):
        with pytest.raises(LandingUnavailableError, match=path):
            register_late(engine, storage)
        assert known(engine) == {one.header.id}
        assert "cannot be read" in unreadable(engine)[path]
    broken.unlink()
    put(storage, path, other)
    assert register_late(engine, storage).registered == 1
    assert known(engine) == {one.header.id, other.header.id}
    assert unreadable(engine) == {}


def test_a_segment_that_has_just_been_written_is_left_to_the_one_who_wrote_it(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    now, settled = datetime.now(UTC), timedelta(seconds=2)
    young, copied = packed(), packed()
    put(storage, path_now(), young)
    put(storage, path_now().replace(".seg", "-copied.seg"), copied)
    assert register_late(engine, storage, now=now, settled=settled).registered == 1
    assert known(engine) == {copied.header.id}
    assert register_late(engine, storage, now=now + 2 * settled, settled=settled).registered == 1
    assert known(engine) == {young.header.id, copied.header.id}


@pytest.mark.parametrize(
    "off",
    [timedelta(minutes=-10), timedelta(days=-400), timedelta(hours=3), timedelta(days=4000)],
    ids=["minutes ago", "long ago", "hours ahead", "years ahead"],
)
def test_a_segment_is_found_wherever_a_clock_has_filed_it(
    engine: sa.Engine, any_storage: LandingStorage, off: timedelta
) -> None:
    sweep = Sweep(any_storage)
    before, after = packed(), packed()
    put(any_storage, path_now(), before)
    for _ in range(4):  # long since looked through, and remembered
        register_late(engine, any_storage, sweep=sweep)
    put(any_storage, path_now(off=off), after)
    register_late(engine, any_storage, sweep=sweep)
    assert known(engine) == {before.header.id, after.header.id}


def test_a_segment_that_came_into_an_old_folder_is_found(
    engine: sa.Engine, any_storage: LandingStorage
) -> None:
    """As a suspended machine writes it, or a person restores it."""
    sweep, off = Sweep(any_storage), timedelta(days=-3)
    payloads = [packed() for _ in range(5)]
    for payload in payloads:
        put(any_storage, path_now(off=off), payload)
        register_late(engine, any_storage, sweep=sweep)
        register_late(engine, any_storage, sweep=sweep)
        assert payload.header.id in known(engine)


def test_a_walk_goes_on_where_its_time_was_over_and_passes_over_what_has_not_changed(
    storage: LocalStorage,
) -> None:
    paths = [path_now(off=timedelta(minutes=-number)) for number in range(40)]
    for path in paths:
        put(storage, path, packed())
    sweep, seen = Sweep(storage), list[str]()
    looks = 0
    while len(seen) < len(paths):
        sweep.go_on(seen.extend, seconds=0)
        looks += 1
    assert sorted(seen) == sorted(paths)
    assert looks > 10
    for _ in range(3):
        sweep.go_on(seen.extend, seconds=10)
    del seen[:]
    sweep.go_on(seen.extend, seconds=10)
    assert seen == []
    put(storage, paths[-1] + "-other.seg", packed())
    sweep.go_on(seen.extend, seconds=10)
    assert paths[-1] in seen


def test_a_walk_that_goes_on_is_looked_at_by_who_asks_now(storage: LocalStorage) -> None:
    paths = [path_now(off=timedelta(minutes=-number)) for number in range(10)]
    for path in paths:
        put(storage, path, packed())
    sweep, first, second = Sweep(storage), list[str](), list[str]()
    sweep.go_on(first.extend, seconds=0)
    sweep.go_on(second.extend, seconds=10)
    assert 0 < len(first) < len(paths)
    assert sorted(first + second) == sorted(paths)


def test_a_walk_that_was_interrupted_misses_nothing(storage: LocalStorage) -> None:
    path = path_now()
    put(storage, path, packed())
    sweep, seen = Sweep(storage), list[str]()

    def fail(paths: list[str]) -> None:
        if paths:
            raise OSError("the ledger is away")

    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            sweep.go_on(fail, seconds=10)  # ty: ignore
    sweep.go_on(seen.extend, seconds=10)
    assert seen == [path]


@given(data=st.data())
def test_damage_is_noticed_and_costs_no_other_payload(data: st.DataObject) -> None:
    bodies = [b"1", b'{"id":1}\n{"id":2}\n' * 30, b'{"id":"0197b0c0"}\n' * 400, b""]
    payloads = [packed(body) for body in bodies]
    segment, entries = encode(payloads, NAME)
    assert contents(segment, NAME).entries == entries
    assert contents(segment, NAME).faults == []
    if data.draw(st.booleans(), label="cut"):
        damaged = segment[: data.draw(st.integers(0, len(segment) - 1), label="length")]
        hit = [entry for entry in entries if entry.offset + entry.header.length + 1 > len(damaged)]
        assert contents(damaged, NAME).faults
    else:
        at = data.draw(st.integers(0, len(segment) - 1), label="at")
        value = data.draw(st.integers(1, 255), label="changed by")
        damaged = segment[:at] + bytes([segment[at] ^ value]) + segment[at + 1 :]
        ends = [entry.offset + entry.header.length + 1 for entry in entries]
        hit = [entry for entry, end in zip(entries, ends, strict=True) if at < end][:1]
        assert contents(damaged, NAME).faults or at + 1 in ends, (
            "only the line end behind a body says nothing"
        )
    found = contents(damaged, NAME).entries
    assert [entry.header for entry in found if entry not in entries] == []
    assert [entry for entry in entries if entry not in hit and entry not in found] == []


def test_no_body_passes_for_a_record(engine: sa.Engine, storage: LocalStorage) -> None:
    """Where reading goes on after damage it could otherwise be made to find a payload of somebody else's."""
    forged, _ = encode([packed(flow="forged")], "another.seg")
    path = path_now()
    segment = put(storage, path, packed(), packed(b"\n" + forged), packed())
    (storage.root / path).write_bytes(b"|" + segment[1:])
    assert register_late(engine, storage).registered == 2
    with engine.connect() as connection:
        assert set(connection.scalars(sa.select(drops.c.flow))) == {"notes"}


def test_what_is_whole_is_registered_and_the_rest_once_it_is_restored(
    engine: sa.Engine, any_storage: LandingStorage, tmp_path: Path
) -> None:
    payloads = [packed(os.urandom(50)) for _ in range(5)]
    path = path_now()
    segment = put(any_storage, path, *payloads)
    file = tmp_path / "landing" / path
    at = segment.index(str(payloads[2].header.id).encode())
    file.write_bytes(segment[:at] + b"x" + segment[at + 1 :])
    for hours in (0, 0, 3):
        register_late(engine, any_storage, now=datetime.now(UTC) + timedelta(hours=hours))
        assert known(engine) == {one.header.id for one in payloads if one is not payloads[2]}
        assert "does not match its checksum" in unreadable(engine)[path]
    file.unlink()
    register_late(engine, any_storage)
    assert unreadable(engine) == {path: "it is gone"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(segment)
    assert register_late(engine, any_storage).registered == 1
    assert known(engine) == {one.header.id for one in payloads}
    assert unreadable(engine) == {}
    with engine.begin() as connection:
        claim = claims.claim_landed(
            connection, LANE, claim_id="run", run_id="run", dispatch_id=None, max_bytes=2**20, lease_s=30
        )
    assert len(claims.load(any_storage, claim.drops)) == 5


@pytest.mark.parametrize("whole", [0, 1])
def test_what_is_given_up_is_put_aside_unless_payloads_need_it(
    engine: sa.Engine, any_storage: LandingStorage, tmp_path: Path, whole: int
) -> None:
    path = path_now()
    segment = put(any_storage, path, *[packed() for _ in range(1 + whole)])
    (tmp_path / "landing" / path).write_bytes(segment[:10] + b"?" + segment[11:])
    sweep = Sweep(any_storage)
    register_late(engine, any_storage, sweep=sweep)
    with engine.begin() as connection:
        assert late_segments.discard(connection, any_storage, path)
        assert not late_segments.discard(connection, any_storage, path)
    for _ in range(3):
        register_late(engine, any_storage, sweep=sweep)
    assert unreadable(engine) == {}
    assert (tmp_path / "landing" / path).exists() == bool(whole)
    assert (tmp_path / "landing" / "discarded" / path).exists() != bool(whole)


def test_segments_without_checksums_are_read(engine: sa.Engine, storage: LocalStorage) -> None:
    """As they were written before there were any."""
    payloads, path = [packed(), packed(b"x" * 5000)], path_now()
    parts = [
        entry.line + b"\n" + one.body + b"\n"
        for one, entry in zip(payloads, encode(payloads, path)[1], strict=True)
    ]
    storage.write(path, b"".join(parts))
    assert register_late(engine, storage).registered == 2
    assert unreadable(engine) == {}
    with engine.begin() as connection:
        claim = claims.claim_landed(
            connection, LANE, claim_id="run", run_id="run", dispatch_id=None, max_bytes=2**20, lease_s=30
        )
    assert sorted(drop.body for drop in claims.load(storage, claim.drops)) == [b"1", b"x" * 5000]


def test_payloads_of_a_flow_that_is_not_there_fail_and_can_be_redriven(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    mine, strange = packed(), packed(flow="strange")
    put(storage, path_now(), mine, strange)
    register_late(engine, storage)
    with engine.begin() as connection:
        assert unknown_flows.fail(connection, known=["notes"]) == 0, "its code may be about to come"
        assert unknown_flows.fail(connection, known=["notes"], grace_s=0) == 1
        assert unknown_flows.fail(connection, known=["notes"], grace_s=0) == 0
        states = dict(connection.execute(sa.select(drops.c.id, drops.c.state)).all())
        (kept,) = rejects.list_rejects(connection, receipt=strange.header.id).items
    assert states == {mine.header.id: "landed", strange.header.id: "failed"}
    assert (kept.kind, kept.code, kept.reason) == (
        "payload", "unknown_flow", "there is no flow strange; redrive the payload once there is",
    )  # fmt: skip


def test_many_segments_at_random_places_are_all_found(engine: sa.Engine, storage: LocalStorage) -> None:
    rng, sweep = random.Random(7), Sweep(storage)
    wanted = set[UUID]()
    for _ in range(60):
        payload = packed()
        put(storage, path_now(off=timedelta(minutes=rng.randint(-3000, 300))), payload)
        wanted.add(payload.header.id)
        if rng.random() < 0.3:
            register_late(engine, storage, sweep=sweep)

    def all_found() -> bool:
        register_late(engine, storage, sweep=sweep)
        return known(engine) == wanted

    wait_until(all_found, seconds=20, what="all segments to be found")
