"""Cursors: what a list did not give out is refused, not read as something else."""

from collections.abc import Callable

import pytest

from ingestion_assets.frontdoor.paging import (
    encode_cursor,
    number_and_text_cursor,
    number_cursor,
    text_cursor,
)
from ingestion_assets.frontdoor.problems import Problem


@pytest.mark.parametrize("read", [text_cursor, number_cursor, number_and_text_cursor])
@pytest.mark.parametrize("cursor", ["/_t+", "_-t+aaaaaaaa/A", "a b", "é", "a=", "a"])
def test_another_alphabet_is_refused(read: Callable[[str], object], cursor: str) -> None:
    with pytest.raises(Problem):
        read(cursor)


def test_what_was_given_out_is_read() -> None:
    assert text_cursor(encode_cursor("über/?>")) == "über/?>"
