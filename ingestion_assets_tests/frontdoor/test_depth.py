"""Depth is what a parser would find, whatever stands in the strings."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.frontdoor.depth import _STRETCH, deeper_than
from ingestion_assets_tests.long_tests import examples

_texts = st.text(alphabet='"\\[]{}a,\n')
_values = st.recursive(
    _texts | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(_texts, inner), max_leaves=30
)


def depth_of(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@settings(deadline=None, max_examples=examples(500))
@given(_values, st.integers(1, 8))
def test_depth_is_what_a_parser_finds(value: Any, limit: int) -> None:
    assert deeper_than(json.dumps(value).encode(), limit) == (depth_of(value) > limit)


@pytest.mark.parametrize("offset", range(3))
def test_strings_may_lie_across_the_stretches_that_are_read(offset: int) -> None:
    value = ["x" * offset, *["[[["] * _STRETCH, [[1]]]
    body = json.dumps(value).encode()
    assert deeper_than(body, 2)
    assert not deeper_than(body, 3)
