"""Syncs on a real database: what they change, what they leave, and that the history replays to the inventory."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_assets.landing.flows import RefusedError
from ingestion_assets.modules.flow import read_inbox
from ingestion_assets.modules.inventory import history_of, inventory_before, modules_of
from ingestion_assets.modules.sync import (
    Applied,
    Incoming,
    NoSuchSiteError,
    RemovalGuard,
    apply_sync,
    replay_site,
)
from ingestion_assets_tests.long_tests import examples
from ingestion_assets_tests.modules.replay import (
    START,
    body,
    incoming,
    make_site,
    module,
    replay,
    stored,
    tables,
)

GUARD = RemovalGuard()


def apply(engine: sa.Engine, one: Incoming, *, guard: RemovalGuard = GUARD) -> Applied:
    with engine.begin() as connection:
        return apply_sync(connection, one, guard=guard)


def row_versions(engine: sa.Engine) -> set[tuple[str, str]]:
    """Where every row version lies and which transaction wrote it: any write shows."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT ctid::text, xmin::text || '/' || xmax FROM ingestion.module_states")
        )
        return {(row[0], row[1]) for row in rows}


def test_a_full_sync_tells_what_changed(engine: sa.Engine) -> None:
    site = make_site(engine)
    first = apply(engine, incoming(site, [module("a"), module("b"), module("c"), module("d", status=False)]))
    assert (first.counts.new, first.counts.present, first.changed) == (4, 4, {"a", "b", "c", "d"})
    second = apply(
        engine,
        incoming(
            site,
            [module("a", "1.1.0"), module("b"), module("d", description="x"), module("e", "8.x-1.0")],
            minute=1,
        ),
    )
    counts = second.counts
    assert (counts.new, counts.updated, counts.enabled, counts.modified, counts.unchanged, counts.removed) == (
        1, 1, 1, 2, 1, 1,
    )  # fmt: skip
    assert second.changed == {"a", "d", "e"}
    third = apply(engine, incoming(site, [module(name) for name in "abcde"], minute=2))
    assert (third.counts.returned, third.counts.new) == (1, 0)
    with engine.connect() as connection:
        history = history_of(connection, site, "c")
    assert [(one["from_version"], one["to_version"], one["to_status"]) for one in history] == [
        (None, "1.0.0", True), ("1.0.0", None, None), (None, "1.0.0", True),
    ]  # fmt: skip
    assert [one["changed_at"] for one in history] == [
        START + timedelta(minutes=minute) for minute in (0, 1, 2)
    ]


def test_a_removed_module_is_marked_and_comes_back(engine: sa.Engine) -> None:
    site = make_site(engine)
    for minute, names in enumerate(("ab", "ab", "a", "a")):
        apply(engine, incoming(site, [module(name) for name in names], minute=minute))
    with engine.connect() as connection:
        a, b = modules_of(connection, site)
    assert (a["removed_at"], a["last_seen"]) == (None, START + timedelta(minutes=3))
    assert (b["removed_at"], b["last_seen"]) == (START + timedelta(minutes=2), START + timedelta(minutes=1))
    assert b["first_seen"] == START
    assert b["status"] is True


def test_a_partial_sync_touches_only_what_it_names(engine: sa.Engine) -> None:
    site = make_site(engine)
    apply(engine, incoming(site, [module("a"), module("b"), module("c")]))
    partial = apply(
        engine, incoming(site, [module("a", "2.0.0"), module("b")], minute=1, sync_type="partial")
    )
    assert (partial.counts.updated, partial.counts.removed, partial.counts.unchanged) == (1, 0, 1)
    with engine.connect() as connection:
        seen = {one["machine_name"]: one["last_seen"] for one in modules_of(connection, site)}
    assert seen == {"a": START + timedelta(minutes=1), "b": START + timedelta(minutes=1), "c": START}


def test_a_repeated_sync_writes_no_module_row(engine: sa.Engine) -> None:
    site = make_site(engine)
    modules = [module(f"m{index}") for index in range(200)]
    apply(engine, incoming(site, modules))
    before = row_versions(engine)
    apply(engine, incoming(site, modules, minute=1))
    assert row_versions(engine) == before
    apply(engine, incoming(site, [module("x")], minute=2, sync_type="partial"))
    assert len(row_versions(engine) - before) == 1


def test_the_same_payload_is_applied_once(engine: sa.Engine) -> None:
    site = make_site(engine)
    one = incoming(site, [module("a")])
    first = apply(engine, one)
    before = tables(engine, site)
    apply(engine, incoming(site, [module("a", "2.0.0")], minute=1))
    apply(engine, incoming(site, [module("a")], minute=2))
    middle = tables(engine, site)
    assert apply(engine, one) == first
    assert tables(engine, site) == middle != before


def test_an_older_snapshot_is_superseded(engine: sa.Engine) -> None:
    site = make_site(engine)
    newer = apply(engine, incoming(site, [module("a", "2.0.0")], minute=5))
    before = tables(engine, site)["states"]
    late = incoming(site, [module("b")], minute=4)
    superseded = apply(engine, late)
    assert (superseded.state, superseded.superseded_by, tables(engine, site)["states"]) == (
        "superseded", newer.id, before,
    )  # fmt: skip
    assert (superseded.counts.superseded, superseded.counts.unchanged) == (1, 0)
    assert apply(engine, late) == superseded


@pytest.mark.parametrize("arrives_late", [False, True])
def test_of_two_snapshots_of_one_moment_the_one_accepted_last_wins(
    engine: sa.Engine, arrives_late: bool
) -> None:
    site = make_site(engine)
    first, second = [incoming(site, [module("a", f"1.{number}.0")], minute=3) for number in range(2)]
    done = [apply(engine, one) for one in ((second, first) if arrives_late else (first, second))]
    assert stored(engine, site)["a"]["version"] == "1.1.0"
    newer = second.id if arrives_late else None
    assert (done[1].state, done[1].superseded_by) == ("superseded" if arrives_late else "applied", newer)


def test_a_sync_that_removes_too_much_is_held(engine: sa.Engine) -> None:
    site = make_site(engine)
    apply(engine, incoming(site, [module(f"m{index}") for index in range(20)]))
    few = incoming(site, [module("m0")], minute=1)
    assert (apply(engine, few).state, apply(engine, few).counts.removed) == ("held", 19)
    assert len(stored(engine, site)) == 20
    confirmed = Incoming(
        id=few.id, site_id=site, request=few.request, received_at=few.received_at, principal="p", attributes={}, confirmed=True
    )  # fmt: skip
    assert apply(engine, confirmed).state == "applied"
    assert stored(engine, site).keys() == {"m0"}


@pytest.mark.parametrize(
    ("present", "kept", "held"),
    [(20, 10, False), (20, 9, True), (9, 1, False), (10, 1, False), (11, 1, True)],
)
def test_the_guard_holds_more_than_half_and_at_least_ten(
    engine: sa.Engine, present: int, kept: int, held: bool
) -> None:
    site = make_site(engine)
    apply(engine, incoming(site, [module(f"m{index}") for index in range(present)]))
    one = apply(engine, incoming(site, [module(f"m{index}") for index in range(kept)], minute=1))
    assert (one.state == "held") == held


def test_what_was_installed_before_a_sync(engine: sa.Engine) -> None:
    site = make_site(engine)
    apply(engine, incoming(site, [module("a"), module("b", "8.x-1.0", core_compatibility=["8.x"])]))
    wrong = apply(engine, incoming(site, [module("c")], minute=1))
    apply(engine, incoming(site, [module("c"), module("d")], minute=2))
    with engine.connect() as connection:
        before = inventory_before(connection, site, wrong.id)
    assert before is not None
    assert [(one["machine_name"], one["version"], one["core_compatibility"]) for one in before] == [
        ("a", "1.0.0", []), ("b", "8.x-1.0", ["8.x"]),
    ]  # fmt: skip
    apply(engine, incoming(site, before, minute=3))
    assert stored(engine, site).keys() == {"a", "b"}


def test_a_site_must_be_there(engine: sa.Engine) -> None:
    with pytest.raises(NoSuchSiteError):
        apply(engine, incoming(99, [module("a")]))


def test_concurrent_syncs_end_in_the_newest_snapshot(engine: sa.Engine) -> None:
    site = make_site(engine)
    syncs = [
        incoming(site, [module(f"m{n % 7}", f"1.{n}.0"), module("x", f"1.{n}.0")], minute=n)
        for n in range(24)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: apply(engine, one), [*syncs[::2], *reversed(syncs[1::2]), *syncs[:4]]))
    assert stored(engine, site) == replay([syncs[-1]])[-1].modules


@settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=6), st.randoms())
def test_full_syncs_end_in_the_same_inventory_in_whatever_order_they_arrive(
    engine: sa.Engine, drawn: list[tuple[int, str]], random: Random
) -> None:
    site = make_site(engine)
    accepted = [
        incoming(site, [module(name, f"1.{number}.0")], minute=minute)
        for number, (minute, name) in enumerate(drawn)
    ]
    arriving = list(accepted)
    random.shuffle(arriving)
    done = {one.id: apply(engine, one) for one in arriving}
    newest = max(accepted, key=lambda one: (one.request.sync_timestamp, one.id))
    assert stored(engine, site) == replay([newest])[-1].modules
    assert done[newest.id].state == "applied"
    assert {one.superseded_by for one in done.values() if one.state == "superseded"} <= done.keys()


reports = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.sampled_from(["1.0.0", "8.x-1.0", "2.x-dev"]), st.booleans(), st.sampled_from([None, "text"])),
    min_size=1, max_size=6,
)  # fmt: skip
sequences = st.lists(
    st.tuples(reports, st.integers(0, 6), st.sampled_from(["full", "full", "partial"])),
    min_size=1,
    max_size=9,
)


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sequences, st.integers(0, 8))
def test_every_instant_is_a_replay_of_the_syncs_up_to_it(
    engine: sa.Engine,
    drawn: Sequence[tuple[dict[str, tuple[str, bool, str | None]], int, str]],
    repeated: int,
) -> None:
    site = make_site(engine)
    syncs = [
        incoming(
            site,
            [
                module(name, version, status=status, description=text)
                for name, (version, status, text) in report.items()
            ],
            minute=minute,
            sync_type=sync_type,
        )
        for report, minute, sync_type in drawn
    ]
    for one in [*syncs, syncs[repeated % len(syncs)]]:
        apply(engine, one)
    moments = replay(syncs)
    assert stored(engine, site) == moments[-1].modules
    for minute in range(-1, 8):
        instant = START + timedelta(minutes=minute)
        then = [moment for moment in moments if moment.at <= instant]
        assert stored(engine, site, as_of=instant) == (then[-1].modules if then else {}), minute
    with engine.connect() as connection:
        for name in "abcdef":
            steps = history_of(connection, site, name)
            assert all(
                (older["to_version"], older["to_status"]) == (newer["from_version"], newer["from_status"])
                for older, newer in pairwise(steps)
            )
            now = moments[-1].modules.get(name)
            assert (steps[-1]["to_version"] if steps else None) == (now["version"] if now else None)
    before = tables(engine, site)
    by_id = {one.id: one for one in syncs}
    with engine.begin() as connection:
        replay_site(connection, site, list(by_id), load=by_id.__getitem__)
    assert tables(engine, site) == before


@pytest.mark.parametrize("folder", ["0", "012", "9223372036854775808", "-1", "\u0661", "1 ", ""])
def test_a_folder_of_the_inbox_that_names_no_site_is_refused(folder: str) -> None:
    content = json.dumps(body([module("a")])).encode()
    with pytest.raises(RefusedError, match="site's id"):
        read_inbox(f"{folder}/today.json", content)
    ((taken, _),) = read_inbox("12/today.json", content)
    assert (taken.subject, taken.records) == ("12", 1)
