"""Vectors of texts: those of a text alone, whatever it comes with."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ingestion_assets.embedding.errors import StoppedError, UnknownModelError
from ingestion_assets.embedding.text import ON_CPU, WIDTH, Shape, TextModel

LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"
WORDS = [
    "def",
    "class",
    "return",
    "import",
    "self",
    "value",
    "for",
    "in",
    "if",
    "not",
    "None",
    "True",
    "read",
    "write",
    "file",
    "line",
    "path",
    "the",
    "of",
    "a",
    "to",
    "_",
    "(",
    ")",
    ":",
    "=",
]


@pytest.fixture(scope="module")
def model() -> TextModel:
    return TextModel.load()


def texts(count: int, seed: int) -> list[str]:
    """Of one to some three hundred words, short ones more often; one of them is empty."""
    chance = np.random.default_rng(seed)
    return ["", *(" ".join(chance.choice(WORDS, 1 + int(chance.exponential(12)))) for _ in range(count - 1))]


def test_a_vector_is_the_same_to_the_last_bit_whatever_its_text_comes_with(model: TextModel) -> None:
    some = texts(4000 if LONG else 24, 0)
    whole = model.encode(some)
    assert np.isfinite(whole).all()
    assert np.allclose(np.linalg.norm(whole, axis=1), 1.0, atol=1e-5)
    order = np.random.default_rng(1).permutation(len(some))
    at = 0
    for size in (1, 2, 5, len(some)):
        part = order[at : at + size]
        assert model.encode([some[number] for number in part]).tobytes() == whole[part].tobytes()
        at += size


def test_padded_batches_of_one_shape_give_a_text_the_same_vector_too(model: TextModel) -> None:
    """As a GPU gets them, on the CPU."""
    padded = TextModel(model.name, model._model)
    padded.shape = Shape(8, 32)
    some = texts(400 if LONG else 12, 2)
    whole = padded.encode(some)
    assert padded.encode(some[::-1])[::-1].tobytes() == whole.tobytes()
    assert padded.encode(some[3:6]).tobytes() == whole[3:6].tobytes()
    assert ((whole * model.encode(some)).sum(axis=1) > 0.999).all()


def test_one_core_and_two_give_the_same_bytes(model: TextModel) -> None:
    some, cores = texts(6, 3), model.cores
    found = []
    try:
        for model.cores in (1, 2):
            found.append(model.encode(some).tobytes())
    finally:
        model.cores = cores
    assert found[0] == found[1]


def test_the_process_keeps_the_cores_that_it_was_given(model: TextModel) -> None:
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for some in (texts(2, 5)[1:], texts(4, 6)):
            model.encode(some)
            with ThreadPoolExecutor(1) as other:
                assert (torch.get_num_threads(), other.submit(torch.get_num_threads).result()) == (3, 3)
    finally:
        torch.set_num_threads(before)


def test_vectors_are_those_of_the_bare_model_up_to_rounding(model: TextModel) -> None:
    some = texts(6, 4)
    assert model.shape == ON_CPU
    bare = model._model.encode(some, convert_to_tensor=True, show_progress_bar=False).float().numpy()
    assert ((bare * model.encode(some)).sum(axis=1) / np.linalg.norm(bare, axis=1) > 0.999).all()


def test_what_means_the_same_is_nearer(model: TextModel) -> None:
    question, near, far = model.encode(
        ["read a file line by line", "for line in open(path):", "class Invoice:"]
    )
    assert question @ near > question @ far


def test_a_long_text_and_odd_characters_are_read_as_far_as_the_model_reads(model: TextModel) -> None:
    long = "word " * 5000
    found = model.encode([long, long + "more", "\0\ud800\U0001f600"])
    assert (found[0] == found[1]).all()
    assert np.isfinite(found).all()


def test_nothing_is_embedded_of_nothing_and_a_stop_is_heard(model: TextModel) -> None:
    assert model.encode([]).shape == (0, WIDTH)
    told: list[int] = []
    with pytest.raises(StoppedError):
        model.encode(["a"] * 300, stopped=lambda: len(told) >= 2, progress=told.append)
    assert told == list(range(1, len(told) + 1))
    assert 2 <= len(told) < 300


def test_an_unknown_model_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownModelError, match="no text model 'x'; known: all-MiniLM-L6-v2"):
        TextModel.load("x")
