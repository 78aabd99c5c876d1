"""The trained vector: the same twice, honest about what it was not shown, and silent where it does not help."""

import numpy as np
import pytest

from ingestion_assets.embedding.structural import Edges, in_order_of_paths, propagate
from ingestion_assets.embedding.training import WIDTH, area, fit, joined, trained
from ingestion_assets_tests.embedding.made_up_code import Code, made_up


@pytest.fixture(scope="module")
def code() -> Code:
    """Files that name different things: links say more of them than words do."""
    some = made_up(groups=3, files=14, links=4)
    some.identifiers[:] = [{f"only{chr(97 + number // 26)}{chr(97 + number % 26)}": 1, "common": 2} for number in range(42)]  # fmt: skip
    return some


def test_two_runs_give_the_same_bytes_and_another_seed_others(code: Code) -> None:
    first, second, other = (trained(code.identifiers, code.paths, code.edges, seed) for seed in (3, 3, 4))
    assert first.helped
    assert first.vectors.tobytes() == second.vectors.tobytes() != other.vectors.tobytes()


def test_the_order_of_files_changes_nothing(code: Code) -> None:
    order = np.random.default_rng(1).permutation(len(code.paths))
    place = np.argsort(order)
    moved = trained(
        [code.identifiers[number] for number in order],
        [code.paths[number] for number in order],
        Edges(place[code.edges.sources], place[code.edges.targets], code.edges.weights),
        3,
    )
    found = trained(code.identifiers, code.paths, code.edges, 3)
    assert moved.held_out_auc == found.held_out_auc
    assert np.allclose(moved.vectors[place], found.vectors, atol=1e-6)


def test_trained_vectors_have_length_one_and_bring_linked_files_together(code: Code) -> None:
    found = trained(code.identifiers, code.paths, code.edges, 3)
    assert found.vectors.shape == (42, WIDTH)
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-5)
    assert found.held_out_auc is not None
    assert found.stable_auc is not None
    assert found.held_out_auc > found.stable_auc


def test_links_that_mean_nothing_are_not_predicted() -> None:
    """What is held out is hidden from graph and training: were it not, even links drawn by chance would be found again."""
    chance = np.random.default_rng(0)
    sources, targets = chance.integers(0, 60, (2, 240))
    identifiers = [{f"only{chr(97 + number // 26)}{chr(97 + number % 26)}": 1} for number in range(60)]
    paths = [b"%02d.py" % number for number in range(60)]
    found = trained(identifiers, paths, Edges(sources, targets, np.ones(240)), 0)
    assert found.held_out_auc is not None
    assert 0.3 < found.held_out_auc < 0.7
    own, edges, _ = in_order_of_paths(identifiers, paths, Edges(sources, targets, np.ones(240)))
    shown = joined(propagate(own, edges), fit(own, edges, 0))
    assert area(shown, np.stack([sources, targets], 1), chance.integers(0, 60, (1000, 2))) > 0.8, "shown links are found"  # fmt: skip


def test_where_training_does_not_help_there_are_zeros_and_it_says_so() -> None:
    """Links between files that name the very same things: words alone say all of it."""
    code = made_up(groups=6, files=6, links=5)
    code.identifiers[:] = [{f"{chr(97 + number // 6) * 3}word": 1} for number in range(36)]
    found = trained(code.identifiers, code.paths, code.edges, 0)
    assert (found.stable_auc, found.helped) == (1.0, False)
    assert found.held_out_auc is not None
    assert not found.vectors.any()


@pytest.mark.parametrize("links", [0, 1, 19])
def test_too_few_links_are_not_trained_on(links: int) -> None:
    code = made_up()
    few = Edges(*(np.asarray(column)[:links] for column in code.edges))
    found = trained(code.identifiers, code.paths, few, 0)
    assert (found.helped, found.held_out_auc, found.stable_auc) == (False, None, None)
    assert found.vectors.shape == (48, WIDTH)
    assert not found.vectors.any()


def test_no_file_and_one_file_have_nothing_to_train_on() -> None:
    assert trained([], [], Edges([], [], []), 0).vectors.shape == (0, WIDTH)
    alone = trained([{"run": 1}], [b"a.py"], Edges([0] * 30, [0] * 30, [1.0] * 30), 0)
    assert not alone.helped


def test_a_graph_in_which_all_is_linked_has_nothing_to_tell_apart() -> None:
    pairs = [(one, other) for one in range(8) for other in range(one)]
    sources, targets = zip(*pairs, strict=True)
    found = trained([{"run": 1}] * 8, [b"%d.py" % number for number in range(8)], Edges(sources, targets, [1.0] * 28), 0)  # fmt: skip
    assert (found.helped, found.held_out_auc) == (False, None)
