"""Paths within a source: what leads out of it is unsafe, globs mean what they say, however they are made up."""

import fnmatch
import os
import posixpath
import time

from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.documents.file_paths import ignored, matches, unsafe

PARTS = st.sampled_from(["a", "b.txt", "..", ".", "", "c d", "é", "~", "*"])


@given(st.lists(PARTS, max_size=6), st.sampled_from(["", "/", "C:/", "\\"]))
def test_a_safe_path_stays_below_whatever_it_is_joined_to(parts: list[str], before: str) -> None:
    path = before + "/".join(parts)
    if unsafe(path) is None:
        joined = os.path.normpath(posixpath.join("/root/of/it", path))
        assert joined == f"/root/of/it/{path}"


@given(st.text())
def test_any_text_is_judged(path: str) -> None:
    if unsafe(path) is None:
        assert not path.startswith("/")
        assert "\0" not in path
        assert ".." not in path.split("/")


def test_what_is_nobodys_document() -> None:
    for path in (
        "__MACOSX/", "x/__MACOSX/._a", "._a", "a/.DS_Store", "Thumbs.db", "a/thumbs.DB", "~$letter.docx", "a/.~lock.b.odt#", ".git/HEAD",
        "desktop.ini", "$RECYCLE.BIN/x",
    ):  # fmt: skip
        assert ignored(path), path
    for path in ("a.txt", ".hidden", "MACOSX/a", "a~$b", "git/HEAD", "a._b", "x/.gitignore"):
        assert ignored(path) is None, path


def test_globs() -> None:
    paths = ["a.pdf", "b.txt", "x/a.pdf", "x/y/a.pdf", "x/y/c[1].txt"]

    def found(*globs: str) -> list[str]:
        return [path for path in paths if matches(path, globs)]

    assert found("*") == found("**") == paths
    assert found("*.pdf") == ["a.pdf", "x/a.pdf", "x/y/a.pdf"]
    assert found("/*.pdf") == ["a.pdf"]
    assert found("x/*.pdf") == ["x/a.pdf"]
    assert found("x/**/a.pdf") == ["x/a.pdf", "x/y/a.pdf"]
    assert found("x/") == ["x/a.pdf", "x/y/a.pdf", "x/y/c[1].txt"]
    assert found("x/y/c[[]1].txt") == ["x/y/c[1].txt"]
    assert found("?.txt", "x/a.*") == ["b.txt", "x/a.pdf"]
    assert found("A.PDF") == []


@given(
    st.lists(st.sampled_from(["a", "b", "ab", "ba.txt"]), min_size=1, max_size=4),
    st.text(alphabet="ab*?[].t", min_size=1, max_size=6),
)
def test_a_glob_without_folders_means_names_in_all_of_them(parts: list[str], glob: str) -> None:
    assert matches("/".join(parts), [glob]) == (
        glob in {"*", "**"} or (glob == "**") or fnmatch.fnmatchcase(parts[-1], glob)
    )


def test_no_glob_takes_long() -> None:
    began = time.monotonic()
    assert not matches("a" * 3000 + "/" + "a" * 900, ["*a" * 200 + "b", "**/" * 100 + "*a" * 50 + "c"])
    assert time.monotonic() - began < 2
