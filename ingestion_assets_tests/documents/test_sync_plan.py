"""What a sync decides: laws over any listing beside any memory."""

import hashlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.documents.sync_plan import Known, Plan, plan

CONTENTS = st.sampled_from(["one", "two", "three", "four"])
PATHS = st.sampled_from(["a", "b", "c", "d/e", "d/f"])
STATES = st.dictionaries(PATHS, st.tuples(CONTENTS, st.integers(0, 2)), max_size=5)
KINDS = st.sampled_from(["hash of the source", "read", "a download"])


def digest_of(content: str) -> str:
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def listing(state: dict[str, tuple[str, int]], kind: str) -> list[Entry]:
    return [
        Entry(
            file_id=path, path=path, size=len(content), version=f"{content} {second}",
            digest=digest_of(content) if kind == "hash of the source" else None,
        )
        for path, (content, second) in state.items()
    ]  # fmt: skip


def remembered(before: dict[str, Known], made: Plan, state: dict[str, tuple[str, int]]) -> dict[str, Known]:
    """What is known after a plan was carried out, all files of its job being stored."""
    known = {id_: replace(one, removed=one.removed or one in made.removed) for id_, one in before.items()}
    for was, _ in made.moved:
        del known[was.file_id]
    seen = [
        *made.new,
        *made.changed,
        *made.touched,
        *made.renamed,
        *made.restored,
        *(entry for _, entry in made.moved),
    ]
    for entry in seen:
        known[entry.file_id] = Known(
            file_id=entry.file_id, path=entry.path, size=entry.size, digests=frozenset({digest_of(state[entry.file_id][0])}),
            version=entry.version, document=True,
        )  # fmt: skip
    return known


@given(st.lists(STATES, min_size=1, max_size=4), KINDS)
def test_whatever_happens_what_is_known_is_what_is_there(
    states: list[dict[str, tuple[str, int]]], kind: str
) -> None:
    known: dict[str, Known] = {}
    for state in states:

        def digest(id_: str, state: dict[str, tuple[str, int]] = state) -> str | None:
            return digest_of(state[id_][0]) if kind == "read" else None

        before = known
        made = plan(listing(state, kind), before, digest=digest)
        known = remembered(before, made, state)
        there = {id_: one for id_, one in known.items() if one.is_there}
        assert there.keys() == state.keys()
        for id_, one in there.items():
            assert digest_of(state[id_][0]) in one.digests, "what is stored is not what is there"
        known_contents = {hashed for one in before.values() for hashed in one.digests}
        if kind != "a download":  # then a file is processed only if its bytes are another's than those it had
            for entry in made.changed:
                assert digest_of(state[entry.file_id][0]) not in before[entry.file_id].digests
            for entry in made.new:
                assert digest_of(state[entry.file_id][0]) not in known_contents or made.moved or before
        again = plan(listing(state, kind), known, digest=digest)
        assert (again.unchanged, again.to_process, again.removed, again.moved, again.restored) == (
            len(state),
            [],
            [],
            [],
            [],
        )
        if not any(one.removed for one in before.values()) and not made.moved:
            assert len(made.removed) == len(before.keys() - state.keys())


def entries(*paths: str) -> list[Entry]:
    return listing({path: (path, 0) for path in paths}, "hash of the source")


def known_of(*paths: str) -> dict[str, Known]:
    return {
        one.file_id: Known(file_id=one.file_id, path=one.path, size=one.size, digests=frozenset({one.digest or ""}), version=one.version, document=True)
        for one in entries(*paths)
    }  # fmt: skip


def none(_id: str) -> None:
    return None


def test_more_than_half_and_ten_at_least_is_held() -> None:
    names = [f"{number:02}" for number in range(40)]
    for before, left, held in (
        (40, 20, None),
        (40, 19, "21 of 40 files would be removed"),
        (9, 0, None),
        (10, 0, "10 of 10 files would be removed"),
    ):
        made = plan(entries(*names[:left]), known_of(*names[:before]), digest=none)
        assert (made.held, len(made.removed)) == (held, before - left)
    assert plan([], known_of(*names), digest=none, confirmed=True).held is None
    assert plan([], known_of(*names), digest=none, gone=names).held
    moved = [replace(one, file_id=f"x{one.file_id}", path=f"x/{one.path}") for one in entries(*names)]
    made = plan(moved, known_of(*names), digest=none)
    assert (made.held, len(made.moved), made.removed) == (None, 40, [])


def test_what_lies_where_nobody_could_look_is_not_taken_for_gone() -> None:
    closed = Entry(file_id="closed", path="closed", refused="access_denied")
    made = plan([*entries("a"), closed], known_of("a", "closed/b"), digest=none)
    assert made.held == "1 files lie where the source could not be read: closed"
    assert plan([*entries("a"), closed], known_of("a", "other/b"), digest=none).held is None


def test_only_what_a_source_says_has_changed_is_looked_at() -> None:
    known = known_of("a", "b", "c")
    made = plan(entries("d"), known, digest=none, gone=["b", "never-seen"])
    assert ([one.path for one in made.new], [one.path for one in made.removed]) == (["d"], ["b"])
    refused = Entry(file_id="a", path="a", refused="unsafe_path")
    assert [one.path for one in plan([refused], known, digest=none, gone=[]).removed] == ["a"]


def test_what_is_not_wanted_is_as_what_is_not_there() -> None:
    def wanted(path: str) -> bool:
        return not path.startswith("x/")

    known = known_of("a", "x/b")
    made = plan(entries("a", "x/b", "x/c", "d"), known, digest=none, wanted=wanted)
    assert ([one.path for one in made.new], [one.path for one in made.removed], made.unchanged) == (
        ["d"],
        ["x/b"],
        1,
    )
    made = plan(entries("x/c"), known, digest=none, gone=[], wanted=wanted)
    assert ([one.path for one in made.new], [one.path for one in made.removed]) == ([], ["x/b"]), (
        "nothing was said of it"
    )
    into, out = replace(entries("a")[0], path="x/a"), replace(entries("x/b")[0], path="b")
    made = plan([into, out], known, digest=none, gone=[], wanted=wanted)
    assert ([one.path for one in made.removed], [one.path for one in made.renamed]) == (["a"], ["b"])
    closed = Entry(file_id="x", path="x", refused="access_denied")
    assert plan([*entries("a"), closed], known, digest=none, wanted=wanted).held is None, (
        "it would go in any case"
    )
    names = [f"x/{number}" for number in range(20)]
    made = plan(entries(*names), known_of(*names), digest=none, wanted=wanted)
    assert made.held == "20 of 20 files would be removed"
