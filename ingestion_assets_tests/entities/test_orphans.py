"""Rows that reference nothing fall with all that hangs on them: as a slow and simple reckoning says, and in linear time."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_assets.entities.definition_files import read_entities
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.test_loading import accounted
from ingestion_assets_tests.long_tests import LONG, examples

Database = psycopg.Connection[Any]
DEFINED = """
entity: {name}
prefix: {prefix}
table: {table}
fields:
  - {{name: id, type: {type}}}
  - {{name: parent, type: bigint, nullable: true}}
  - {{name: other, type: bigint, nullable: true}}
primary_key: [id]
references:
  - {{fields: [parent], entity: {name}}}
  - {{fields: [other], entity: {other}}}
"""
ORPHAN = "missing_reference"


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> EntitySet:
    """Two entities that reference themselves and each other."""
    folder = tmp_path_factory.mktemp("circle")
    for name, other, kind in (("Ape", "Bee", "integer"), ("Bee", "Ape", "bigint")):
        text = DEFINED.format(name=name, prefix=name[0], table=f"{name.lower()}s", other=other, type=kind)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return read_entities([folder])


Lines = Sequence[tuple[str, int, int | None, int | None]]


def body(lines: Lines) -> bytes:
    return "".join(f"{p}|{key}|{parent or ''}|{other or ''}\n" for p, key, parent, other in lines).encode()


def reckoned(payloads: Sequence[tuple[Lines, int | None]]) -> list[set[int] | None]:
    """What should be left of each payload, by the plainest reckoning there is: records, or None where it is refused."""
    left = {(at, n): line for at, (lines, _) in enumerate(payloads) for n, line in enumerate(lines)}
    errors = [0] * len(payloads)
    refused: set[int] = set()
    changed = True
    while changed:
        changed = False
        for (at, n), (prefix, _, parent, other) in list(left.items()):
            for key, kind in ((parent, prefix), (other, {"A": "B", "B": "A"}[prefix])):
                if key is None or any(to <= at and one[:2] == (kind, key) for (to, _), one in left.items()):
                    continue
                if left.pop((at, n), None):
                    errors[at] += 1
                    changed = True
        for at, (_, limit) in enumerate(payloads):
            if limit is not None and errors[at] > limit and at not in refused:
                refused.add(at)
                left = {place: line for place, line in left.items() if place[0] != at}
                changed = True
    return [None if at in refused else {n for to, n in left if to == at} for at in range(len(payloads))]


KEYS = st.integers(1, 8)
LINE = st.tuples(st.sampled_from("AB"), KEYS, st.none() | KEYS, st.none() | st.none() | KEYS)
PAYLOAD = st.tuples(st.lists(LINE, min_size=1, max_size=8), st.sampled_from([None, None, 0, 1]))


@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PAYLOAD, min_size=1, max_size=4))
def test_what_falls_is_what_a_plain_reckoning_says(
    database: Database, circle: EntitySet, payloads: list[tuple[Lines, int | None]]
) -> None:
    drops = [
        landed(body(lines), **({} if limit is None else {"max_errors": str(limit)}))
        for lines, limit in payloads
    ]
    with database.transaction(force_rollback=True):
        loaded = load_drops(database, circle, *drops)
        stored = {row[0] for name in ("Ape", "Bee") for row in rows(database, circle, name)}
    assert all(accounted(one) for one in loaded)
    left = [
        None if one.refused else set(range(one.records)) - {fault.record for fault in one.faults}
        for one in loaded
    ]
    wanted = reckoned(payloads)
    assert left == wanted
    assert stored == {payloads[at][0][n][1] for at, some in enumerate(wanted) for n in some or ()}


def chain(number: int, *, first: int = 1) -> Lines:
    return [("A", key, key - 1 or None, None) for key in range(first, number + 1)]


def both_ways(number: int) -> Lines:
    """A chain that goes from one entity to the other and back."""
    return [("AB"[key % 2], key, None, key - 1 or None) for key in range(1, number + 1)]


def tree(number: int) -> Lines:
    return [("A", key, key // 2 or None, None) for key in range(1, number + 1)]


def star(number: int) -> Lines:
    return [("A", key, 1 if key > 1 else None, None) for key in range(1, number + 1)]


SHAPES = {
    "chain": chain, "reversed": lambda n: chain(n)[::-1], "both ways": both_ways, "tree": tree, "star": star,
}  # fmt: skip


WRONGS = [(shape, wrong) for shape in SHAPES for wrong in ("missing", "invalid")]


@pytest.mark.parametrize(("shape", "wrong"), WRONGS if LONG else [*WRONGS[::2], ("chain", "invalid")])
def test_what_hangs_on_a_missing_row_falls_in_about_the_time_of_storing_it(
    database: Database, circle: EntitySet, shape: str, wrong: str
) -> None:
    number = 20_000
    lines = SHAPES[shape](number)
    text = body(lines)
    root = body([one for one in lines if one[1] == 1])
    bad = text.replace(root, root.replace(b"|1|", b"|x1|") if wrong == "invalid" else b"")
    seconds = []
    for sent, left in ((bad, 0), (text, number)):
        began = time.perf_counter()
        (loaded,) = load_drops(database, circle, landed(sent))
        seconds.append(time.perf_counter() - began)
        assert (loaded.total().inserted, accounted(loaded)) == (left, True)
    fallen, stored = seconds
    assert fallen < 10 * stored + 5  # pass by pass a chain of this length took minutes


def test_a_chain_of_atomic_payloads_falls_together(database: Database, circle: EntitySet) -> None:
    drops = [landed(body([line, ("B", line[1], None, None)]), max_errors="0") for line in chain(600, first=2)]
    began = time.perf_counter()
    loaded = load_drops(database, circle, *drops)
    assert all(one.refused for one in loaded)
    assert time.perf_counter() - began < 10
    assert rows(database, circle, "Bee") == []


def test_a_row_falls_though_its_key_comes_again_later(database: Database, circle: EntitySet) -> None:
    """An earlier payload's row may not lean on one that was accepted after it."""
    first = landed(
        body([("A", 1, 9, None), ("A", 2, 1, None), ("A", 3, 2, None), ("A", 4, 3, None), ("A", 5, 4, None)])
    )
    second = landed(body([("A", 1, None, None), ("A", 6, 1, None)]))
    loaded = load_drops(database, circle, first, second)
    assert [one.total().failed for one in loaded] == [5, 0]
    assert {fault.code for fault in loaded[0].faults} == {ORPHAN}
    assert loaded[0].faults[4].message == "Foreign key violation: parent=4 not found in Ape"


def test_keys_of_several_fields_are_the_same_however_they_are_written(
    database: Database, tmp_path: Path
) -> None:
    """1.5 and 1.500 are one key; ("a", "bc") and ("ab", "c") are two."""
    (tmp_path / "step.yaml").write_text(
        "entity: Step\nprefix: S\ntable: steps\nfields:\n"
        "  - {name: size, type: decimal, precision: 8, scale: 2}\n  - {name: a, type: text}\n  - {name: b, type: string, length: 9}\n"
        "  - {name: at, type: decimal, precision: 12, scale: 4, nullable: true}\n"
        "  - {name: to_a, type: string, length: 9, nullable: true}\n  - {name: to_b, type: text, nullable: true}\n"
        "primary_key: [size, a, b]\nreferences:\n  - {fields: [at, to_a, to_b], entity: Step}\n"
    )
    steps = read_entities([tmp_path])
    fallen = [f"S|{n}.5|a|bc|{n - 1}.500|a|bc" for n in range(1, 12)]
    stays = ["S|0.50|ab|c|||", *(f"S|{n}.50|ab|c|{n - 1}.5000|ab|c" for n in range(1, 12))]
    (loaded,) = load_drops(database, steps, landed("\n".join(fallen + stays).encode()))
    assert accounted(loaded)
    assert [fault.record for fault in loaded.faults] == list(range(11))
    assert loaded.faults[0].message == "Foreign key violation: at=0.5000, to_a=a, to_b=bc not found in Step"
    assert loaded.total().inserted == 12
