"""Both kinds of landing storage keep the same promises."""

import resource
import signal
from pathlib import Path

import pytest
from obstore.store import S3Store

from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.object_storage import ObjectStorage
from ingestion_assets.landing.storage import LandingStorage, open_storage
from ingestion_assets.settings import Settings


@pytest.fixture(params=["folder", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> LandingStorage:
    root = tmp_path / "landing"
    root.mkdir()
    settings = Settings(home=tmp_path, landing_url=None if request.param == "folder" else f"file://{root}")
    opened = open_storage(settings)
    assert isinstance(opened, LocalStorage if request.param == "folder" else ObjectStorage)
    return opened


def test_what_was_written_is_read_whole_and_in_part(storage: LandingStorage) -> None:
    storage.write("segments/2026-01-31/12-05/a.seg", b"0123456789")
    assert storage.read("segments/2026-01-31/12-05/a.seg") == b"0123456789"
    assert storage.read("segments/2026-01-31/12-05/a.seg", offset=3, length=4) == b"3456"
    with pytest.raises(FileNotFoundError):
        storage.read("segments/2026-01-31/12-05/b.seg")


def test_what_cannot_be_read_now_is_not_gone(tmp_path: Path) -> None:
    root = tmp_path / "landing"
    unreachable = ObjectStorage(
        S3Store(
            "bucket",
            endpoint="http://127.0.0.1:1",
            access_key_id="a",
            secret_access_key="b",
            region="c",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        ),
        "s3://bucket",
    )
    unmounted = LocalStorage(root)
    unreadable = LocalStorage(tmp_path / "broken")
    (unreadable.root / "segments" / "a.seg").mkdir(parents=True)
    for storage in (unreachable, unmounted, unreadable):
        with pytest.raises(LandingUnavailableError, match="landing storage"):
            storage.read("segments/a.seg", offset=0, length=1)
        with pytest.raises(LandingUnavailableError, match="landing storage"):
            storage.read("segments/a.seg")
    (root / "segments").mkdir()
    with pytest.raises(FileNotFoundError):
        unmounted.read("segments/a.seg")


def test_a_minute_lists_its_segments_in_order(storage: LandingStorage) -> None:
    for name in ("b", "a"):
        storage.write(f"segments/2026-01-31/12-05/{name}.seg", b"x")
    storage.write("segments/2026-01-31/12-06/c.seg", b"x")
    assert list(storage.list("segments/2026-01-31/12-05")) == [
        "segments/2026-01-31/12-05/a.seg",
        "segments/2026-01-31/12-05/b.seg",
    ]
    assert list(storage.list("segments/2026-01-31/12-07")) == []


def test_the_inbox_leaves_unfinished_files_alone_and_files_can_be_moved_out(storage: LandingStorage) -> None:
    for name in ("a.jsonl", "deep/b.jsonl", "c.jsonl.part", ".hidden"):
        storage.write(f"notes/inbox/{name}", b"12")
    found = {file.path: file.size for file in storage.inbox("notes")}
    assert found == {"notes/inbox/a.jsonl": 2, "notes/inbox/deep/b.jsonl": 2}
    storage.move("notes/inbox/a.jsonl", "notes/accepted/a.jsonl")
    assert [file.path for file in storage.inbox("notes")] == ["notes/inbox/deep/b.jsonl"]
    assert storage.read("notes/accepted/a.jsonl") == b"12"


def test_a_folder_that_cannot_be_written_says_so_and_leaves_no_descriptor_open(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    (tmp_path / "segments").write_text("a file where a folder should be")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(LandingUnavailableError, match="landing storage"):
            storage.write("segments/2026-01-31/12-05/a.seg", b"x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_removed_is_gone_and_removing_it_again_is_fine(storage: LandingStorage) -> None:
    path = "segments/2026-01-31/12-05/a.seg"
    storage.write(path, b"x")
    for _ in range(2):
        storage.remove(path)
    assert list(storage.list("segments/2026-01-31/12-05")) == []
    if isinstance(storage, LocalStorage):
        assert list(storage.root.rglob("*")) == [storage.root / "segments"]


def test_folders_are_listed_and_removed_with_all_that_is_in_them(storage: LandingStorage) -> None:
    assert storage.folders("notes/accepted") == []
    for path in ("2026-01-31/a", "2026-01-31/deep/b", "2026-02-01/a"):
        storage.write(f"notes/accepted/{path}", b"x")
    assert storage.folders("notes/accepted") == ["2026-01-31", "2026-02-01"]
    storage.remove_folder("notes/accepted/2026-01-31")
    assert storage.read("notes/accepted/2026-02-01/a") == b"x"
    for path in ("a", "deep/b"):
        with pytest.raises(FileNotFoundError):
            storage.read(f"notes/accepted/2026-01-31/{path}")


def test_a_probe_leaves_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "landing")
    storage.probe()
    assert list(storage.root.rglob("*")) == []


def test_a_folder_that_takes_no_segments_is_told(tmp_path: Path) -> None:
    """Though the root of it is as it was."""
    for number, spoil in enumerate(
        (lambda path: path.write_text("in the way"), lambda path: path.symlink_to("nowhere"))
    ):
        storage = LocalStorage(tmp_path / str(number))
        spoil(storage.root / "segments")
        with pytest.raises(LandingUnavailableError, match="landing storage"):
            storage.probe()
        storage.reach()
        (storage.root / "segments").unlink()
        storage.probe()


def test_after_a_refusal_a_probe_writes_as_much(tmp_path: Path) -> None:
    """A disk may have room for a probe, and none for a segment."""
    storage = LocalStorage(tmp_path / "landing")
    storage.probe()
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most[1]))
        with pytest.raises(LandingUnavailableError):
            storage.write("segments/2026-01-31/12-05/a.seg", bytes(200_000))
        for _ in range(2):
            with pytest.raises(LandingUnavailableError):
                storage.probe()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        signal.signal(signal.SIGXFSZ, ignored)
    storage.probe()
    assert [path for path in storage.root.rglob("*") if path.is_file()] == []


def test_a_store_that_can_be_read_and_not_written_is_told(tmp_path: Path) -> None:
    root = tmp_path / "landing"
    root.mkdir()
    storage = open_storage(Settings(home=tmp_path, landing_url=f"file://{root}"))
    storage.write("segments.mark", b"")
    storage.probe()
    (root / "segments").write_text("in the way")
    with pytest.raises(LandingUnavailableError):
        storage.write("segments/2026-01-31/12-05/a.seg", b"x")
    (root / "segments.mark").unlink()
    (root / "segments.mark").mkdir()
    (root / "segments.mark" / "in the way").touch()
    with pytest.raises(LandingUnavailableError):
        storage.probe()
