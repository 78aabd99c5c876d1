"""Content codings undone piece by piece: nothing is lost, nothing is made up, and a bomb comes in bounded pieces."""

import gzip
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.frontdoor.decoding import PIECE, BrokenEncodingError, Decoder

PACK = {"gzip": gzip.compress, "zstd": zstandard.compress}
CODINGS = st.sampled_from(sorted(PACK))


def decoded(coding: str, packed: bytes, cuts: list[int]) -> bytes:
    decoder = Decoder(coding)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    parts = [packed[start:end] for start, end in pairwise(edges)]
    text = b"".join(piece for part in parts for piece in decoder.pieces(part))
    decoder.end()
    return text


@given(
    coding=CODINGS,
    bodies=st.lists(st.binary(max_size=400), max_size=3),
    cuts=st.lists(st.integers(0, 900), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_the_text_is_the_same_however_it_arrives(coding: str, bodies: list[bytes], cuts: list[int]) -> None:
    packed = b"".join(map(PACK[coding], bodies))
    assert decoded(coding, packed, cuts) == b"".join(bodies)


@given(coding=CODINGS, body=st.binary(max_size=400), data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_ends_too_early_is_noticed(coding: str, body: bytes, data: st.DataObject) -> None:
    packed = PACK[coding](body)
    kept = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(BrokenEncodingError, match="ends too early"):
        decoded(coding, packed[:kept], [])


@pytest.mark.parametrize("coding", sorted(PACK))
def test_a_bomb_comes_in_bounded_pieces(coding: str) -> None:
    size = 64 * PIECE
    sizes = [len(piece) for piece in Decoder(coding).pieces(PACK[coding](bytes(size)))]
    assert sum(sizes) == size
    assert max(sizes) <= 5 * PIECE
