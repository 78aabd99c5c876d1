"""Paths within a source: what leads out of it is unsafe."""

import os
import posixpath

from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.documents.file_paths import bounded, ignored, unsafe

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


def test_a_path_that_is_too_long_is_shown_by_its_ends_and_is_none_other() -> None:
    long, other = "d/" * 3000 + "a.txt", "d/" * 1700 + "e/" + "d/" * 1299 + "a.txt"
    assert bounded("a.txt") == "a.txt"
    assert len(bounded(long)) < 4096
    assert bounded(long).endswith("/a.txt")
    assert bounded(long) != bounded(other)
