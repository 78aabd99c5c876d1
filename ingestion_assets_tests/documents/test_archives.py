"""Zip archives: 58 whose outcome is known, and those that mean harm."""

import json
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.sources import archive
from ingestion_assets.documents.sources.archive import ArchiveSource
from ingestion_assets.documents.sources.archive_names import CODE_PAGES, names_of
from ingestion_assets.documents.sources.source import FetchOptions

MOST = 100_000_000
NOTED = {  # where the index says in words what is wanted
    "libarchive__test_read_format_zip_msdos.zip": {"abc", "def/foo"},
    "libarchive__test_read_format_zip_length_at_end.zip": {"hello.txt"},
    "libarchive__test_read_format_zip_sfx": {"build.sh", "file0"},
    "yauzl__Invalid_comment_length_Expected_1_Found_0_Are_there_extra_bytes_at_the_end_of_the_file_Or_i": {"a.txt", "b.txt"},
    "yauzl__compressed_uncompressed_size_mismatch_for_stored_file_2147483647_5.zip": {"b.txt"},
    "yauzl__multi-disk_zip_files_are_not_supported_found_disk_number_1.zip": {"a.txt", "b.txt"},
    "yauzl__unicode-path-extra-field.zip": {"七个房间.txt"},
    "tika__gbk.zip": {"审计压缩包文件检索测试/集团邮件审计系统2021年自动巡检需求文档_V4.0.doc"},
    "tika__droste.zip": {"droste.jpg", "droste.zip"},
    "tika__test-zip-of-zip.zip": {"html-within-zip.zip"},
}  # fmt: skip


def outcomes(
    path: Path, scratch: Path, options: FetchOptions | None = None
) -> tuple[set[str], set[str], dict[str, str]]:
    """Names that were fetched, those ignored, and the codes of the others."""
    names: set[str] = set()
    ignored: set[str] = set()
    refused: dict[str, str] = {}
    with closing(ArchiveSource(os.open(path, os.O_RDONLY), options or FetchOptions())) as source:
        for entry in source.entries():
            if entry.ignored:
                ignored.add(entry.path)
                continue
            try:
                source.fetch(entry.file_id, scratch / "into", max_bytes=MOST)
                names.add(entry.path)
            except FileError as error:
                refused[entry.path] = error.code
                assert not (scratch / "into").exists()
                assert entry.refused in {None, error.code}
            (scratch / "into").unlink(missing_ok=True)
    return names, ignored, refused


@pytest.fixture(scope="module")
def index(shared_data: Path) -> list[dict[str, Any]]:
    files = json.loads((shared_data / "documents" / "INDEX-formats.json").read_text(encoding="utf-8"))
    return [one for one in files if one["kind"] == "zip"]


def test_every_known_archive_ends_as_its_index_says(
    index: list[dict[str, Any]], shared_data: Path, tmp_path: Path
) -> None:
    wrong: dict[str, Any] = {}
    for one in index:
        expected = one["expected"]
        name = Path(one["file"]).name
        try:
            names, ignored, refused = outcomes(shared_data / "documents" / one["file"], tmp_path)
        except FileError as error:
            if expected.get("archive_error") != error.code:
                wrong[name] = error.code
            continue
        wanted = expected.get("refused", {})
        right = [
            "archive_error" not in expected,
            names == set(expected["names"]) if "names" in expected else True,
            ignored == set(expected.get("ignored", [])),
            set(refused.values()) == {wanted["*"]} if "*" in wanted else refused == wanted or "refused" not in expected,
        ]  # fmt: skip
        noted = next((found for begin, found in NOTED.items() if name.startswith(begin)), None)
        if not all(right) or (noted is not None and names != noted):
            wrong[name] = (names, ignored, refused)
    assert wrong == {}
    assert len(index) == 58


def test_a_thousand_entries_are_all_there(shared_data: Path) -> None:
    path = shared_data / "documents" / "formats" / "zip" / "yauzl__everything.zip"
    with closing(ArchiveSource(os.open(path, os.O_RDONLY), FetchOptions())) as source:
        files = [one for one in zipfile.ZipFile(path).namelist() if not one.endswith("/")]
        assert [one.path for one in source.entries()] == sorted(files, key=lambda one: one.split("/"))


def raw_archive(
    path: Path,
    files: Sequence[tuple[bytes, bytes]],
    *,
    method: int = 0,
    compress: Callable[[bytes], bytes] = bytes,
    crc: int | None = None,
) -> Path:
    """An archive as no library writes it: names in any encoding that is not told, data in any method."""
    body = directory = b""
    for name, content in files:
        data = compress(content)
        sizes = struct.pack("<3I", zlib.crc32(content) if crc is None else crc, len(data), len(content))
        where = struct.pack("<I", len(body))
        body += (
            struct.pack("<4s5H", b"PK\3\4", 63, 0, method, 0, 33)
            + sizes
            + struct.pack("<2H", len(name), 0)
            + name
            + data
        )
        directory += struct.pack("<4s6H", b"PK\1\2", 63, 63, 0, method, 0, 33) + sizes
        directory += struct.pack("<5HI", len(name), 0, 0, 0, 0, 0) + where + name
    count = len(files)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp866", ["Документы/Отчёт за 2023 год.docx"]), ("cp1251", ["Документы/Отчёт.docx", "Счета/Список.xlsx"]), ("koi8-r", ["привет"]),
        ("cp932", ["一覧表.txt"]), ("gbk", ["文件.txt"]), ("big5", ["會議記錄.docx", "報告.pdf"]), ("cp949", ["보고서.hwp"]),
        ("cp437", ["Prüfbericht.pdf"]), ("cp850", ["Straße.docx", "Prüfbericht.pdf"]), ("cp1252", ["Straße.docx", "Prüfbericht.pdf"]),
        ("cp852", ["Žádost.pdf"]), ("cp1253", ["Έγγραφο.docx"]), ("utf-8", ["naïve.txt", "表.txt"]),
    ],
)  # fmt: skip
def test_names_of_many_code_pages(encoding: str, names: list[str], tmp_path: Path) -> None:
    path = raw_archive(tmp_path / "a.zip", [(name.encode(encoding), name.encode()) for name in names])
    assert outcomes(path, tmp_path)[0] == set(names)
    assert outcomes(path, tmp_path, FetchOptions(encoding=encoding))[0] == set(names)
    assert outcomes(path, tmp_path, FetchOptions(encoding="none-such"))[0] == set(names)


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12), min_size=1, max_size=4
    ),
    st.sampled_from(CODE_PAGES),
)
@settings(max_examples=100)
def test_no_name_brings_the_reading_down(names: list[str], encoding: str) -> None:
    infos = []
    for name in names:
        info = zipfile.ZipInfo("x")
        info.orig_filename = name.encode(encoding, "replace").decode("cp437")
        infos.append(info)
    assert len(names_of(infos, None)) == len(names)


def test_zip_slip_is_refused(tmp_path: Path) -> None:
    files = dict.fromkeys(("../up", "a/../../up", "/abs", "C:x", "a//b", "./c", "ok/d"), b"x")
    names, _, refused = outcomes(packed(tmp_path / "a.zip", files), tmp_path)
    assert names == {"ok/d"}
    assert set(refused.values()) == {"unsafe_path"}
    assert len(refused) == 6


def test_of_equal_names_the_last_counts_and_the_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("a", b"first")
        made.writestr("a", b"last")
    with closing(ArchiveSource(os.open(path, os.O_RDONLY), FetchOptions())) as source:
        listed = [(one.path, one.ignored) for one in source.entries()]
        assert listed == [("a", None), ("a", "a later entry has the same name")]
        assert source.fetch("a", tmp_path / "into", max_bytes=MOST).path.read_bytes() == b"last"


BOMB = 90_000_000


def _says_the_truth(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("bomb", "w", force_zip64=True) as entry,
    ):
        for _ in range(BOMB // 1_000_000):
            entry.write(b"\0" * 1_000_000)


def _lies(path: Path) -> None:
    _says_the_truth(path)
    whole = path.read_bytes()
    first = whole.index(b"PK\1\2")
    # 24: the uncompressed size in the directory, 4 bytes.
    path.write_bytes(whole[: first + 24] + struct.pack("<I", 1000) + whole[first + 28 :])


def _shares(path: Path) -> None:
    """Entries that all have the data of one: small, and of any size unpacked."""
    packed(path, {"a": os.urandom(100_000), **{f"b{at}": b"" for at in range(50)}}, zipfile.ZIP_STORED)
    whole = bytearray(path.read_bytes())
    at = first = whole.index(b"PK\1\2")
    sizes = bytes(whole[first + 16 : first + 28])
    while at != -1:
        whole[at + 16 : at + 28] = sizes
        whole[at + 42 : at + 46] = struct.pack("<I", 0)
        at = whole.find(b"PK\1\2", at + 4)
    path.write_bytes(bytes(whole))


@pytest.mark.parametrize(
    ("make", "code"), [(_says_the_truth, "archive_bomb"), (_lies, "corrupted"), (_shares, "archive_bomb")]
)
def test_bombs_are_cut_off(make: Callable[[Path], None], code: str, tmp_path: Path) -> None:
    make(tmp_path / "a.zip")
    tracemalloc.start()
    try:
        names, _, refused = outcomes(tmp_path / "a.zip", tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (names, set(refused.values())) == (set(), {code})
    assert peak < 30_000_000
    assert not (tmp_path / "into").exists()


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
@settings(max_examples=80)
def test_sizes_that_lie(
    tmp_path_factory: pytest.TempPathFactory, size: int, compressed: int, method: int
) -> None:
    """Whatever the directory says: the right bytes, or a code."""
    folder = tmp_path_factory.mktemp("lies", numbered=True)
    content = b"some text that can be packed " * 50
    path = packed(folder / "a.zip", {"a": content, "b": b"beside"}, method)
    whole = path.read_bytes()
    first = whole.index(b"PK\1\2")
    path.write_bytes(whole[: first + 20] + struct.pack("<II", compressed, size) + whole[first + 28 :])
    names, _, refused = outcomes(path, folder)
    assert "b" in names or refused.get("b") == "archive_bomb" or "a" in refused
    if "a" in names:
        assert size == len(content)
    else:
        assert refused["a"] in {"corrupted", "archive_bomb", "too_large"}
    assert "b" in names


@given(st.data())
@settings(max_examples=100)
def test_damage_anywhere_is_a_code_or_the_right_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage", numbered=True)
    content = {"a.txt": b"a" * 500, "b/c.txt": b"other " * 200}
    whole = bytearray(packed(folder / "a.zip", content).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.zip").write_bytes(
        bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    )
    try:
        source = ArchiveSource(os.open(folder / "a.zip", os.O_RDONLY), FetchOptions())
    except FileError as error:
        assert error.code in {"corrupted", "too_large"}
        return
    with closing(source):
        for entry in source.entries():
            if not entry.offered:
                continue
            try:
                fetched = source.fetch(entry.file_id, folder / "into", max_bytes=MOST)
            except FileError:
                continue
            assert fetched.path.read_bytes() in content.values() or fetched.size == 0


def test_locked_entries(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "documents" / "formats" / "zip" / "yauzl__traditional-encryption.zip"
    assert outcomes(path, tmp_path)[2] == {"a.txt": "password_required"}
    assert outcomes(path, tmp_path, FetchOptions(passwords=("wrong", "wrong too")))[2] in (
        {"a.txt": "password_wrong"}, {"a.txt": "corrupted"},
    )  # fmt: skip


def zstd_entry(path: Path, content: bytes, *, crc: int | None = None) -> Path:
    return raw_archive(path, [(b"z", content)], method=93, compress=zstandard.compress, crc=crc)


def test_zstd(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    path = zstd_entry(tmp_path / "a.zip", content)
    with closing(ArchiveSource(os.open(path, os.O_RDONLY), FetchOptions())) as source:
        assert source.fetch("z", tmp_path / "into", max_bytes=MOST).path.read_bytes() == content
    assert outcomes(zstd_entry(tmp_path / "b.zip", content, crc=1), tmp_path)[2] == {"z": "corrupted"}
    assert outcomes(zstd_entry(tmp_path / "c.zip", b"\0" * 90_000_000), tmp_path)[2] == {"z": "archive_bomb"}


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a": os.urandom(2_000_000)})
    with closing(ArchiveSource(os.open(path, os.O_RDONLY), FetchOptions())) as source:

        def overwrite(_done: int, _of: int | None) -> None:
            path.write_bytes(b"\0" * 1000)

        with pytest.raises(FileError) as raised:
            source.fetch("a", tmp_path / "into", max_bytes=MOST, progress=overwrite)
    assert raised.value.code == "source_changed"


def test_more_entries_than_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_ENTRIES", 3)
    names, _, _ = outcomes(packed(tmp_path / "a.zip", dict.fromkeys("abc", b"")), tmp_path)
    assert names == {"a", "b", "c"}
    with pytest.raises(FileError) as raised:
        outcomes(packed(tmp_path / "b.zip", dict.fromkeys("abcd", b"")), tmp_path)
    assert raised.value.code == "too_large"
