"""A folder as a source: nothing outside of it is opened, whatever links lie there and whoever swaps them meanwhile."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources import opening
from ingestion_assets.documents.sources.beneath import OutsideError, Root
from ingestion_assets.documents.sources.directory import DirectorySource
from ingestion_assets.documents.sources.listing import select
from ingestion_assets.documents.sources.source import Source

MOST = 1 << 20


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder that the settings allow, with `docs` in it; `outside.txt` and `beside` are not for anybody."""
    (tmp_path / "allowed" / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("outside")
    (tmp_path / "allowed" / "beside.txt").write_text("beside")
    docs = tmp_path / "allowed" / "docs"
    (docs / "a.txt").write_text("a")
    (docs / "sub" / "b.txt").write_text("b")
    return tmp_path / "allowed"


def connected(root: Path, path: Path, kind: str = opening.DIRECTORY) -> Source:
    return opening.opened(kind, {"path": str(path)}, DocumentsSettings(document_roots=str(root)))


@contextmanager
def docs_of(allowed: Path) -> Iterator[Source]:
    with closing(connected(allowed, allowed / "docs")) as source:
        yield source


def test_entries_come_by_their_place_with_what_is_ignored_and_refused(allowed: Path) -> None:
    docs = allowed / "docs"
    (docs / "link.txt").symlink_to("a.txt")
    (docs / "inside.txt").symlink_to(docs / "sub" / "b.txt")
    (docs / "out.txt").symlink_to("../beside.txt")
    (docs / "far.txt").symlink_to(allowed.parent / "outside.txt")
    (docs / "away").symlink_to("/")
    (docs / "loop").symlink_to("loop")
    (docs / "nowhere").symlink_to("gone.txt")
    (docs / "again").symlink_to("sub")
    (docs / ".DS_Store").write_text("x")
    os.mkfifo(docs / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(docs)
        server.bind("socket")
        os.chdir(here)
    os.close(os.open(os.fsencode(docs) + b"/\xff.txt", os.O_CREAT | os.O_WRONLY))
    with docs_of(allowed) as source:
        found = {one.path: one.ignored or one.refused for one in source.entries()}
        listed = [one.place for one in source.entries()]
    assert found == {
        "a.txt": None, "sub/b.txt": None, "link.txt": None, "inside.txt": None,
        "out.txt": "unsafe_path", "far.txt": "unsafe_path", "away": "unsafe_path", "loop": "unsafe_path", "nowhere": "not_found",
        "again": "link to a folder of the source", ".DS_Store": "of macOS", "pipe": "unsupported_type", "socket": "unsupported_type",
        "\\udcff.txt": "unsafe_path",
    }  # fmt: skip
    assert listed == sorted(listed)


def test_what_is_refused_when_listed_is_refused_when_fetched(allowed: Path, tmp_path: Path) -> None:
    docs = allowed / "docs"
    (docs / "out").symlink_to("..")
    into = tmp_path / "into"
    with docs_of(allowed) as source:
        for id_, code in {
            "out/beside.txt": "unsafe_path", "../beside.txt": "unsafe_path", str(allowed / "beside.txt"): "unsafe_path",
            "sub/../a.txt": "unsafe_path", "none.txt": "not_found", "a.txt/x": "not_found", "sub": "unsupported_type", "": "unsafe_path",
        }.items():  # fmt: skip
            with pytest.raises(FileError) as raised:
                source.fetch(id_, into, max_bytes=MOST)
            assert raised.value.code == code, id_
            assert not into.exists()
        with pytest.raises(FileError) as raised:
            source.fetch("a.txt", into, max_bytes=0)
        assert raised.value.code == "too_large"
        fetched = source.fetch("sub/b.txt", into, max_bytes=1)
        assert (fetched.path.read_text(), fetched.size, fetched.name) == ("b", 1, "b.txt")


def test_nothing_is_opened_but_by_the_handle_of_the_folder_before(allowed: Path, tmp_path: Path) -> None:
    """Whatever lies there: after its root a source opens single names, and none of them leads anywhere else."""
    docs = allowed / "docs"
    for name, target in {
        "out": "..",
        "far": "/etc",
        "passwd": "/etc/passwd",
        "in": "sub",
        "chain": "in/b.txt",
    }.items():
        (docs / name).symlink_to(target)
    opened: list[str] = []
    listening = True

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "open" and isinstance(arguments[0], str):
            opened.append(arguments[0])

    with docs_of(allowed) as source:
        sys.addaudithook(hear)
        list(source.entries())
        for id_ in ("chain", "in/b.txt", "out/beside.txt", "far/hostname", "passwd", "../beside.txt"):
            with contextlib.suppress(FileError):
                source.fetch(id_, tmp_path / "into", max_bytes=MOST)
        listening = False
    assert {"a.txt", "b.txt", "sub", "passwd"} <= set(opened)
    assert [one for one in opened if "/" in one or one in {"..", "."}] == [str(tmp_path / "into")] * 2


def test_only_folders_below_the_allowed_roots_are_connected(allowed: Path) -> None:
    settings = DocumentsSettings(document_roots=f"{allowed}, /srv/docs")
    for path in (allowed, allowed / "docs", allowed / "docs" / "sub"):
        assert opening.checked(opening.DIRECTORY, {"path": str(path)}, settings)
    for path in (
        allowed.parent,
        f"{allowed}-other",
        f"{allowed}/../x",
        "/",
        "docs",
        f"{allowed}/docs/../../outside.txt",
        "/srv/docsx",
    ):
        with pytest.raises(opening.ConfigError, match="INGESTION_DOCUMENT_ROOTS"):
            opening.checked(opening.DIRECTORY, {"path": str(path)}, settings)
    with pytest.raises(opening.ConfigError, match="INGESTION_DOCUMENT_ROOTS"):
        opening.checked(opening.DIRECTORY, {"path": str(allowed)}, DocumentsSettings(document_roots=""))
    (allowed / "up").symlink_to("..")
    with pytest.raises(FileError) as raised:
        connected(allowed, allowed / "up")
    assert raised.value.code == "unsafe_path"
    with pytest.raises(FileError) as raised:
        connected(allowed, allowed / "none")
    assert raised.value.code == "not_found"


def test_no_bytes_from_outside_while_links_are_swapped(allowed: Path, tmp_path: Path) -> None:
    """Someone changes a folder to a link that leads out, and back, as fast as they can."""
    docs = allowed / "docs"
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "b.txt").write_text("outside")
    (docs / "link").symlink_to(tmp_path / "evil")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (docs / "sub").rename(docs / "kept")
            (docs / "link").rename(docs / "sub")
            (docs / "sub").rename(docs / "link")
            (docs / "kept").rename(docs / "sub")

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes: dict[str, int] = {}
    try:
        with docs_of(allowed) as source:
            for _ in range(1500):
                try:
                    text = source.fetch("sub/b.txt", tmp_path / "into", max_bytes=MOST).path.read_text()
                except FileError as error:
                    text = error.code
                outcomes[text] = outcomes.get(text, 0) + 1
                assert "outside" not in {one.path for one in source.entries()}
    finally:
        over.set()
        thread.join()
    assert outcomes.keys() <= {"b", "unsafe_path", "not_found"}, outcomes
    assert outcomes.keys() >= {"b", "unsafe_path"}, "nothing was swapped while we read"


def test_a_file_that_changes_while_it_is_read(allowed: Path, tmp_path: Path) -> None:
    large = allowed / "docs" / "large.bin"
    large.write_bytes(b"x" * (1 << 20))

    def change(_done: int, _of: int | None) -> None:
        with large.open("ab") as file:
            file.write(b"y")

    with docs_of(allowed) as source, pytest.raises(FileError) as raised:
        source.fetch("large.bin", tmp_path / "into", max_bytes=1 << 30, progress=change)
    assert (raised.value.code, raised.value.retryable) == ("source_changed", True)
    assert not (tmp_path / "into").exists()


def test_fetching_can_be_stopped(allowed: Path, tmp_path: Path) -> None:
    with docs_of(allowed) as source, pytest.raises(FileError) as raised:
        source.fetch("a.txt", tmp_path / "into", max_bytes=MOST, stopped=lambda: True)
    assert raised.value.code == "cancelled"
    assert not (tmp_path / "into").exists()


def test_no_handle_is_left_open(allowed: Path, tmp_path: Path) -> None:
    def handles() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = handles()
    with docs_of(allowed) as source:
        list(source.entries())
        for id_ in ("a.txt", "none", "sub", "../x"):
            try:
                source.fetch(id_, tmp_path / "into", max_bytes=MOST)
            except FileError:
                continue
    with pytest.raises(FileError):
        connected(allowed, allowed / "none")
    assert handles() == before


LINK_PARTS = st.lists(st.sampled_from(["a", "b", "l", "..", ".", "x", ""]), min_size=1, max_size=5).map(
    "/".join
)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["a/l", "b/l", "a/b/l", "l"]), st.tuples(st.booleans(), LINK_PARTS), max_size=4
    ),
    LINK_PARTS.filter(lambda path: not path.startswith("/")),  # it is asked for relative paths alone
)
def test_whatever_links_there_are_the_kernel_would_have_found_the_same_inside(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, tuple[bool, str]], path: str
) -> None:
    """Beside the kernel's own resolution: the same file where that lies below the root, nothing where it does not."""
    base = tmp_path_factory.mktemp("links", numbered=True)
    root = base / "root"
    for folder in ("a/b", "b"):
        (root / folder).mkdir(parents=True)
    for file in ("x", "a/x", "b/x", "a/b/x"):
        (root / file).write_text(file)
    (base / "x").write_text("outside")
    for link, (absolute, target) in links.items():
        (root / link).symlink_to(f"{root}/{target}" if absolute else target or ".")
    real = os.path.realpath(root / path)
    held = Root(str(root))
    try:
        descriptor = held.open_file(path)
        assert os.path.realpath(f"/proc/self/fd/{descriptor}") == real
        assert real.startswith(f"{root}/")
        os.close(descriptor)
    except OutsideError:
        pass  # stricter than the kernel may be: a way that leaves the root and comes back
    except OSError:
        assert not (real.startswith(f"{root}/") and os.path.isfile(root / path))  # noqa: PTH113
    finally:
        held.close()


def test_a_listing_of_a_folder_that_is_gone_is_an_error(allowed: Path) -> None:
    source = connected(allowed, allowed / "docs")
    assert isinstance(source, DirectorySource)
    for one in sorted((allowed / "docs").rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()
    (allowed / "docs").rmdir()
    assert list(source.entries()) == []  # the folder that was opened is empty now
    source.close()
    with pytest.raises(FileError):
        connected(allowed, allowed / "docs")


def test_all_of_an_empty_folder_is_nothing_and_not_missing(allowed: Path) -> None:
    (allowed / "empty").mkdir()
    with closing(connected(allowed, allowed / "empty")) as source:
        chosen = select(source, ["*", "*.pdf"])
    assert (chosen.entries, chosen.missing) == ([], {"*.pdf": None})
