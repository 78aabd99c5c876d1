"""The stable vector: what it owes to a file, to its neighbours, and to nothing else."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.embedding.structural import WIDTH, Edges, stable
from ingestion_assets_tests.embedding.made_up_code import made_up

NO_EDGES = Edges([], [], [])
FILES = st.lists(st.dictionaries(st.text(max_size=12), st.integers(0, 9), max_size=4), min_size=1, max_size=8)


def vectors(identifiers: list[Mapping[str, int]], paths: list[bytes], edges: Edges = NO_EDGES) -> np.ndarray:
    found = stable(identifiers, paths, edges)
    assert found.dtype == np.float32
    assert found.shape == (len(paths), WIDTH)
    assert np.isfinite(found).all()
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    return found


@given(files=FILES, data=st.data())
@settings(max_examples=60)
def test_any_file_has_a_finite_unit_vector(files: list[Mapping[str, int]], data: st.DataObject) -> None:
    ends = st.lists(st.integers(0, len(files) - 1), max_size=10)
    sources = data.draw(ends)
    targets = [data.draw(st.integers(0, len(files) - 1)) for _ in sources]
    paths = data.draw(st.lists(st.binary(), min_size=len(files), max_size=len(files)))
    vectors(files, paths, Edges(sources, targets, [1.0] * len(sources)))


def test_no_files_have_no_vectors() -> None:
    assert stable([], [], NO_EDGES).shape == (0, WIDTH)


def test_two_runs_give_the_same_bytes() -> None:
    code = made_up()
    assert (
        vectors(code.identifiers, code.paths, code.edges).tobytes()
        == vectors(code.identifiers, code.paths, code.edges).tobytes()
    )


def test_the_order_of_files_and_edges_changes_nothing() -> None:
    code = made_up()
    chance = np.random.default_rng(1)
    order, links = chance.permutation(len(code.paths)), chance.permutation(len(code.edges.weights))
    place = np.argsort(order)
    sources, targets, weights = (np.asarray(column)[links] for column in code.edges)
    moved = vectors(
        [dict(reversed(code.identifiers[number].items())) for number in order],
        [code.paths[number] for number in order],
        Edges(place[targets], place[sources], weights),  # the direction does not matter
    )
    assert moved[place].tobytes() == vectors(code.identifiers, code.paths, code.edges).tobytes()


def test_files_of_one_group_are_nearer_than_others() -> None:
    code = made_up()
    for edges, times in ((code.edges, 1.5), (NO_EDGES, 1.1)):
        alike = (found := vectors(code.identifiers, code.paths, edges)) @ found.T
        groups = np.repeat(np.arange(4), 12)
        same = (groups[:, None] == groups) & ~np.eye(48, dtype=bool)
        assert alike[same].mean() > times * alike[groups[:, None] != groups].mean()


def test_a_link_brings_two_files_nearer() -> None:
    code = made_up()
    before = vectors(code.identifiers, code.paths, code.edges)
    more = Edges(*(np.append(column, added) for column, added in zip(code.edges, (0, 47, 1.0), strict=True)))
    after = vectors(code.identifiers, code.paths, more)
    assert after[0] @ after[47] > before[0] @ before[47] + 0.02


def test_one_edited_file_leaves_the_others_where_they_are() -> None:
    code = made_up(groups=8)
    before = vectors(code.identifiers, code.paths, code.edges)
    code.identifiers[0] = {**code.identifiers[0], **code.identifiers[50], "somethingEntirelyNew": 3}
    cosines = (vectors(code.identifiers, code.paths, code.edges) * before).sum(axis=1)
    assert cosines[0] < 0.95
    assert (cosines[1:] > 0.98).all()
    assert (cosines[12:] > 0.999).all(), "other groups are not linked with the file"


def test_an_empty_file_is_known_by_its_path_and_an_isolated_one_by_its_words() -> None:
    code = made_up()
    code.identifiers[:] = [*code.identifiers, {}, {"x": 1}, dict(code.identifiers[0])]
    code.paths[:] = [*code.paths, b"tests/__init__.py", b"-", b"copied/file.py"]
    found = vectors(code.identifiers, code.paths, code.edges)
    assert np.argmax(found[:-1] @ found[-1]) == 0, (
        "a file without links is still nearest to what it is a copy of"
    )
    moved = vectors([{}, {}, {}], [b"tests/__init__.py", b"\xff/__init__.py", b"7"])
    assert moved[0] @ moved[1] > moved[0] @ moved[2] + 0.1


def test_the_same_words_make_the_same_vector_in_any_repository() -> None:
    """The space does not depend on what other files there are; only the rarity of the words does."""
    one, other = made_up(seed=1), made_up(seed=2)
    file = made_up(seed=3).identifiers[0]
    first, second = (
        vectors([*code.identifiers, file], [*code.paths, b"copied.py"], code.edges)[-1]
        for code in (one, other)
    )
    assert first @ second > 0.75


def test_files_and_paths_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 files have identifiers and 2 have paths"):
        stable([{}], [b"a", b"b"], NO_EDGES)
