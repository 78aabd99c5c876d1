"""Which files a selection means, of folders and archives whose names have signs of globs; and places in a listing that no name breaks."""

import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources import opening
from ingestion_assets.documents.sources.listing import (
    TooManyGlobsError,
    page,
    place_after,
    position_of,
    select,
)
from ingestion_assets.documents.sources.source import Entry, Source
from ingestion_assets.frontdoor.paging import encode_cursor, number_and_text_cursor

NAMES = (
    "a[1].txt",
    "a1.txt",
    "why?.txt",
    "whyX.txt",
    "star*.txt",
    "starry.txt",
    "reports/b.txt",
    "reports/q1/c.txt",
)


def connected(path: Path, kind: str) -> Source:
    return opening.opened(kind, {"path": str(path)}, DocumentsSettings(document_roots=str(path.parent)))


@pytest.fixture(params=[opening.DIRECTORY, opening.ZIP])
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Source]:
    """Of files with such names, as a folder and as an archive."""
    folder = tmp_path / "files"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    if request.param == opening.ZIP:
        with zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
            for name in NAMES:
                archive.writestr(name, name)
        folder = tmp_path / "files.zip"
    with closing(connected(folder, request.param)) as one:
        yield one


def chosen(source: Source, *wanted: str) -> list[str]:
    found = select(source, wanted)
    assert found.missing == {}
    return [one.file_id for one in found.entries]


def test_the_id_of_a_file_is_that_file_and_no_glob(source: Source) -> None:
    for name in NAMES:
        assert chosen(source, name) == [name]
    assert set(chosen(source, *NAMES)) == set(NAMES)
    assert select(source, NAMES).globs == 0


def test_what_is_no_file_is_a_glob_of_stars_and_question_marks_alone(source: Source) -> None:
    assert chosen(source, "a?.txt") == ["a1.txt"]
    assert chosen(source, "*") == sorted(NAMES, key=lambda name: name.split("/"))
    assert chosen(source, "reports/") == chosen(source, "reports/**") == ["reports/b.txt", "reports/q1/c.txt"]
    found = select(source, ["a[2].txt", "[a]1.txt", "no*", "a1.txt/", "none/", "a1.txt"])
    assert (found.entries[0].file_id, list(found.missing)) == (
        "a1.txt", ["a[2].txt", "[a]1.txt", "no*", "a1.txt/", "none/"],
    )  # fmt: skip


def test_what_can_never_be_fetched_is_missing_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "reports").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "away.txt").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    os.close(os.open(os.fsencode(folder) + b"/\xff?.txt", os.O_CREAT | os.O_WRONLY))
    with closing(connected(folder, opening.DIRECTORY)) as source:
        (undecoded,) = [one.file_id for one in source.entries() if one.file_id.endswith("?.txt")]
        wanted = {
            "reports": "folder", "/a.txt": "absolute", "../a.txt": "`..`", "./a.txt": "`.`", "n" * 300 + ".txt": "longer", "pipe": "no regular",
            "away.txt": "leads out", undecoded: "UTF-8", "*" * 1001: "1,000 characters", "d/" * 3000 + "*": "1,000 characters",
        }  # fmt: skip
        found = select(source, [*wanted, "none.txt", "a.txt"])
    assert [one.file_id for one in found.entries] == ["a.txt"]
    assert found.missing.pop("none.txt") is None
    assert found.missing.keys() == wanted.keys()
    for one, words in wanted.items():
        assert words in (found.missing[one] or ""), one


def test_many_names_with_such_signs_are_looked_up_and_many_globs_refused(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    names = [f"report {number} [final]?.txt" for number in range(1000)]
    for name in names:
        (folder / name).write_text("x")
    with closing(connected(folder, opening.DIRECTORY)) as source:
        began = time.monotonic()
        assert len(select(source, names).entries) == 1000
        assert len(select(source, [f"report {number} *" for number in range(100)]).entries) == 100
        with pytest.raises(TooManyGlobsError, match="1,000"):
            select(source, [f"*{number}" for number in range(1000)])
        assert time.monotonic() - began < 2  # 4 s where every name is compared with every file


NAME = st.text(alphabet='ab\x01\x00"[],/é\N{GRINNING FACE}', max_size=6)


@given(NAME, NAME)
def test_a_place_is_read_as_it_was_given_whatever_the_names(path: str, file_id: str) -> None:
    path, file_id = path.replace("\0", ""), file_id.replace("\0", "")
    for entry in (
        Entry(file_id=file_id, path=path),
        Entry(file_id=path, path=path),
        Entry(file_id=f"{path}#1", path=path),
    ):
        if not entry.file_id:
            continue
        given_out = encode_cursor(position_of(entry))
        assert place_after(number_and_text_cursor(given_out)) == (entry.path, entry.file_id)


def test_a_listing_is_paged_whatever_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in (
        b"\xfe.txt",
        b"\xff.txt",
        b"a\1.txt",
        b'["a", "b"]',
        b'"',
        "\N{GRINNING FACE}".encode() * 60,
    ):
        os.close(os.open(os.fsencode(folder) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    with closing(connected(folder, opening.DIRECTORY)) as source:
        found: list[Entry] = []
        while step := page(source, after=(found[-1].path, found[-1].file_id) if found else None, limit=1):
            found += step
            assert len(found) <= 6
        assert found == list(source.entries())
    assert len(found) == 6
