"""Globs mean what they say, however they are made up, and never take long."""

import fnmatch
import time
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.documents.file_globs import Glob, Globs, is_glob

PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ba.txt"]), min_size=1, max_size=5).map("/".join)


def test_globs() -> None:
    paths = ["a.pdf", "b.txt", "x/a.pdf", "x/y/a.pdf", "x/y/c[1].txt"]

    def found(*globs: str) -> list[str]:
        chosen = Globs(globs)
        return [path for path in paths if chosen.match(path)]

    assert found("*") == found("**") == paths
    assert found("*.pdf") == ["a.pdf", "x/a.pdf", "x/y/a.pdf"]
    assert found("/*.pdf") == ["a.pdf"]
    assert found("x/*.pdf") == ["x/a.pdf"]
    assert found("x/**/a.pdf") == ["x/a.pdf", "x/y/a.pdf"]
    assert found("x/") == found("x/**") == ["x/a.pdf", "x/y/a.pdf", "x/y/c[1].txt"]
    assert found("x/a.pdf/") == found("x/a.pdf/**") == []
    assert found("x/y/c[1].*") == ["x/y/c[1].txt"]
    assert found("[ab].pdf", "c[[]1].txt") == []
    assert found("?.txt", "x/a.*") == ["b.txt", "x/a.pdf"]
    assert found("A.PDF") == found() == []


def test_what_can_be_a_glob() -> None:
    assert [one for one in ("*", "a?b", "reports/", "a[1].txt", "a/b", "") if is_glob(one)] == [
        "*",
        "a?b",
        "reports/",
    ]


@given(PATHS, st.text(alphabet="ab*?[].t", min_size=1, max_size=6))
def test_a_glob_without_folders_means_names_in_all_of_them(path: str, glob: str) -> None:
    name = path.rpartition("/")[2]
    assert Glob(glob).matches(path) == (
        glob == "**" or fnmatch.fnmatchcase(name, "".join("[[]" if one == "[" else one for one in glob))
    )


@given(PATHS, st.lists(st.sampled_from(["**", "*", "a*", "?", "*b?", "a", "ab"]), min_size=2, max_size=6))
def test_a_glob_with_folders_means_what_any_way_through_it_leads_to(path: str, parts: list[str]) -> None:
    assert Glob("/".join(parts)).matches(path) == _leads(path.split("/"), parts)


def _leads(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """By trying every way."""
    if not patterns or not parts:
        return not patterns and not parts
    if patterns[0] == "**":
        last = len(patterns) == 1
        return last or _leads(parts, patterns[1:]) or _leads(parts[1:], patterns)
    return fnmatch.fnmatchcase(parts[0], patterns[0]) and _leads(parts[1:], patterns[1:])


def test_no_glob_takes_long() -> None:
    began = time.monotonic()
    for glob in ("*a" * 200 + "b", "**/" * 100 + "*a" * 50 + "c", "**/a/" * 150 + "b", "**/*a/" * 150 + "b"):
        for path in ("a" * 3000 + "/" + "a" * 900, "a/" * 2000 + "c", "aaa/" * 1000 + "c"):
            assert not Glob(glob).matches(path)
    assert time.monotonic() - began < 2
