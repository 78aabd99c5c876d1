"""Google Drive as a source, against a server that takes what Google's own description of the API takes, and no more."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources import drive as drive_source
from ingestion_assets.documents.sources import opening
from ingestion_assets.documents.sources.listing import select
from ingestion_assets.documents.sources.source import FetchOptions, Source
from ingestion_assets_tests.documents.drive_server import APPS, OAUTH, ROOT, Drive, drive_server

MOST = 1 << 26
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.fixture
def drive() -> Iterator[Drive]:
    with drive_server() as running:
        yield running


@contextmanager
def connected(drive: Drive, options: FetchOptions | None = None, **config: Any) -> Iterator[Source]:
    settings = DocumentsSettings(google_drive_url=drive.url)
    given = {"oauth": OAUTH, **config} if "service_account" not in config else config
    with closing(opening.opened(opening.DRIVE, given, settings, options)) as source:
        yield source


def paths(source: Source) -> dict[str, str | None]:
    return {one.path: one.ignored or one.refused for one in source.entries()}


def text_of(source: Source, id_: str, tmp_path: Path) -> str:
    fetched = source.fetch(id_, tmp_path / "into", max_bytes=MOST).path
    text = fetched.read_text()
    fetched.unlink()
    return text


def failing(source: Source, id_: str, tmp_path: Path) -> str:
    with pytest.raises(FileError) as raised:
        source.fetch(id_, tmp_path / "into", max_bytes=MOST)
    assert not (tmp_path / "into").exists()
    assert "planted" not in str(raised.value)
    return raised.value.code


def test_all_pages_with_paths_equal_names_and_names_of_any_kind(drive: Drive, tmp_path: Path) -> None:
    folder = drive.folder("Papers")
    inner = drive.folder("2023/24", parent=folder)
    ids = [drive.add("same.txt", f"{number}", parent=inner) for number in range(4)]
    drive.add("top.txt", "top")
    drive.add("shared.txt", "shared", parent="a-folder-that-is-not-shared")
    drive.add("gone.txt", "gone", trashed=True)
    drive.add(".DS_Store", "x")
    with connected(drive) as source:
        found = list(source.entries())
        assert [one.path for one in found] == [
            ".DS_Store",
            *["Papers/2023\u221524/same.txt"] * 4,
            "shared.txt",
            "top.txt",
        ]
        assert {one.file_id for one in found} >= set(ids)
        assert [text_of(source, id_, tmp_path) for id_ in ids] == ["0", "1", "2", "3"]
        chosen = select(source, ["Papers/**", ids[0], "no-such-id", "*.pdf"])
        assert ({one.file_id for one in chosen.entries}, chosen.missing) == (
            set(ids),
            {"no-such-id": None, "*.pdf": None},
        )
        assert not [call for call in drive.calls if "pdf" in call or "%2A" in call]
        assert len([call for call in drive.calls if "/files?" in call]) >= 4


def test_a_folder_is_a_border(drive: Drive, tmp_path: Path) -> None:
    inside = drive.folder("inside")
    drive.folder("empty", parent=inside)
    deep = drive.add("deep.txt", "deep", parent=drive.folder("sub", parent=inside))
    outside = drive.add("outside.txt", "outside")
    with connected(drive, folder_id=inside) as source:
        assert paths(source) == {"sub/deep.txt": None}
        assert text_of(source, deep, tmp_path) == "deep"
        assert source.entry(outside) is None
        assert failing(source, outside, tmp_path) == "not_found"
        assert source.entry(inside) is None
    assert not [call for call in drive.calls if "alt=media" in call and outside in call]
    drive.change(inside, trashed=True)
    with connected(drive, folder_id=inside) as source, pytest.raises(FileError, match="folder"):
        source.test()


def test_a_shared_drive_is_read_to_its_end(drive: Drive, tmp_path: Path) -> None:
    drive.add("Team", parent="", mime=APPS + "folder", id="team-drive", driveId="team-drive")
    folder = drive.folder("many", parent="team-drive")
    for number in range(10):
        drive.add(f"{number}.txt", f"{number}", parent=folder)
    mine = drive.add("mine.txt", "mine")
    with connected(drive, drive_id="team-drive") as source:
        assert list(paths(source)) == [f"many/{number}.txt" for number in range(10)]
        assert failing(source, mine, tmp_path) == "not_found"
    with connected(drive, folder_id=folder) as source:
        assert list(paths(source)) == [f"{number}.txt" for number in range(10)]
    drive.incomplete = True
    with (
        connected(drive, drive_id="team-drive") as source,
        pytest.raises(FileError, match="did not search all"),
    ):
        list(source.entries())


def test_googles_own_documents_are_exported(drive: Drive, tmp_path: Path) -> None:
    kinds = {
        kind: drive.add(kind, kind, mime=APPS + kind)
        for kind in ("document", "spreadsheet", "presentation", "drawing", "form")
    }
    large = drive.add("large", b"x" * (10 * 2**20 + 1), mime=APPS + "document")
    with connected(drive) as source:
        assert paths(source)["form"] == "unsupported_type"
        fetched = source.fetch(kinds["document"], tmp_path / "into", max_bytes=MOST)
        assert (fetched.name, fetched.mime, fetched.path.read_text()) == (
            "document.docx",
            DOCX,
            f"{DOCX}\ndocument",
        )
        ends = [
            source.fetch(kinds[kind], tmp_path / "into", max_bytes=MOST).name
            for kind in ("spreadsheet", "presentation", "drawing")
        ]
        assert ends == ["spreadsheet.xlsx", "presentation.pptx", "drawing.pdf"]
        (tmp_path / "into").unlink()
        assert failing(source, kinds["form"], tmp_path) == "unsupported_type"
        assert failing(source, large, tmp_path) == "export_too_large"
    with connected(drive, FetchOptions(export_formats={"document": "txt"})) as source:
        assert source.fetch(kinds["document"], tmp_path / "into", max_bytes=MOST).name == "document.txt"


def test_shortcuts(drive: Drive, tmp_path: Path) -> None:
    inside, elsewhere = drive.folder("inside"), drive.folder("elsewhere")
    target = drive.add("target.txt", "target", parent=elsewhere)
    listed = drive.add("listed.txt", "listed", parent=inside)
    followed = drive.shortcut("followed.txt", target, parent=inside)
    drive.shortcut("again.txt", listed, parent=inside)
    dangling = drive.shortcut("dangling.txt", "nowhere", parent=inside)
    loop = drive.shortcut("loop.txt", dangling, parent=inside)
    drive.shortcut("folder", elsewhere, parent=inside)
    with connected(drive, folder_id=inside) as source:
        assert paths(source) == {
            "listed.txt": None, "followed.txt": None, "again.txt": "shortcut to what is listed at its own place", "dangling.txt": "not_found",
            "loop.txt": "shortcut to what is listed at its own place", "folder": "shortcut to a folder; connect that folder itself",
        }  # fmt: skip
        assert text_of(source, followed, tmp_path) == "target"
        assert failing(source, dangling, tmp_path) == "not_found"
        assert failing(source, loop, tmp_path) == "not_found"
    with connected(drive, FetchOptions(follow_shortcuts=False), folder_id=inside) as source:
        assert paths(source)["followed.txt"] == "shortcut"


def test_what_google_does_not_let_be_read(drive: Drive, tmp_path: Path) -> None:
    closed = drive.add("closed.txt", "x", capabilities={"canDownload": False})
    lost = drive.add("lost.txt", "x")
    denied = drive.add("denied.txt", "x")
    with connected(drive) as source:
        assert failing(source, closed, tmp_path) == "access_denied"
        drive.mishap(f"{denied}?alt=media", 403, "insufficientFilePermissions")
        drive.mishap(f"{denied}?", 403, "insufficientFilePermissions")
        assert failing(source, denied, tmp_path) == "access_denied"
        drive.remove(lost)
        assert failing(source, lost, tmp_path) == "not_found"
        assert failing(source, ROOT, tmp_path) == "not_found"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "userRateLimitExceeded"),
        (403, "rateLimitExceeded"),
        (429, "rateLimitExceeded"),
        (503, "backendError"),
    ],
)
def test_limits_of_rate_are_waited_for(drive: Drive, tmp_path: Path, status: int, reason: str) -> None:
    one = drive.add("a.txt", "a")
    for where in ("/files?", "/files/"):
        drive.mishap(where, status, reason, times=2, Retry_After="0")
    with connected(drive) as source:
        assert paths(source) == {"a.txt": None}
        assert text_of(source, one, tmp_path) == "a"
    assert not [one for one in drive.mishaps if one.times]


def test_a_limit_that_does_not_end_is_a_failure_that_a_retry_may_mend(drive: Drive) -> None:
    drive.mishap("/files?", 429, "rateLimitExceeded", times=100, Retry_After="0")
    with connected(drive) as source, pytest.raises(FileError) as raised:
        list(source.entries())
    assert (raised.value.code, raised.value.retryable) == ("download_failed", True)
    stopped = iter([False, False, True])
    drive.mishaps.clear()
    one = drive.add("a.txt", "a")
    drive.mishap(f"{one}?alt=media", 429, "rateLimitExceeded", times=100, Retry_After="60")
    drive.mishap("alt=media", 429, "rateLimitExceeded", times=100, Retry_After="60")
    with connected(drive) as source, pytest.raises(FileError) as raised:
        source.fetch(one, Path("/nonexistent/into"), max_bytes=MOST, stopped=lambda: next(stopped, True))
    assert raised.value.code in {"cancelled", "download_failed"}


def test_access_that_was_withdrawn_needs_new_credentials(drive: Drive, tmp_path: Path) -> None:
    one = drive.add("a.txt", "a")
    with connected(drive) as source:
        assert text_of(source, one, tmp_path) == "a"
        drive.tokens.clear()  # 401: the token is renewed, and nobody notices
        assert text_of(source, one, tmp_path) == "a"
        drive.tokens.clear()
        drive.revoked = True
        assert failing(source, one, tmp_path) == "needs_reauth"
        for ask in (lambda: list(source.entries()), lambda: select(source, [f"*{one}" for one in range(9)])):
            with pytest.raises(FileError) as raised:
                ask()
            assert raised.value.code == "needs_reauth"
        with pytest.raises(FileError) as raised:
            source.changes("1")
        assert raised.value.code == "needs_reauth"


def test_a_service_account(drive: Drive) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "client_email": "robot@example.com",
        "private_key": pem,
        "token_uri": "http://169.254.169.254/",
    }
    drive.add("a.txt", "a")
    with connected(drive, service_account=account) as source:
        assert paths(source) == {"a.txt": None}
    with (
        pytest.raises(FileError) as raised,
        connected(drive, service_account={**account, "private_key": "no key"}),
    ):
        pass
    assert raised.value.code == "needs_reauth"


def test_a_download_that_breaks_off_goes_on_where_it_was(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_source, "PART_BYTES", 100_000)
    content = bytes(range(256)) * 2000
    one = drive.add("a.bin", content, mime="application/octet-stream")
    drive.mishap("alt=media", bytes_=50_000)
    drive.mishap("alt=media", 503, "backendError")
    with connected(drive) as source:
        fetched = source.fetch(one, tmp_path / "into", max_bytes=MOST)
    assert fetched.path.read_bytes() == content
    assert len([call for call in drive.calls if "alt=media" in call]) == 6 + 2


def test_a_file_that_changes_while_it_is_read(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_source, "PART_BYTES", 100_000)
    one = drive.add("a.bin", b"a" * 300_000, mime="application/octet-stream")

    def change(_done: int, _of: int | None) -> None:
        drive.write(one, b"b" * 300_000)

    with connected(drive) as source, pytest.raises(FileError) as raised:
        source.fetch(one, tmp_path / "into", max_bytes=MOST, progress=change)
    assert raised.value.code == "source_changed"
    with connected(drive) as source, pytest.raises(FileError) as raised:
        source.fetch(one, tmp_path / "into", max_bytes=1000)
    assert raised.value.code == "too_large"


def test_changes_since_a_token(drive: Drive) -> None:
    folder = drive.folder("inside")
    kept, changed, trashed, left, lost = (
        drive.add(f"{name}.txt", name, parent=folder)
        for name in ("kept", "changed", "trashed", "left", "lost")
    )
    with connected(drive, folder_id=folder) as source:
        token = source.start_token()
        assert token is not None
        assert source.changes(token).changed == ()
        new = drive.add("new.txt", "new", parent=folder)
        drive.write(changed, "other")
        drive.change(changed, name="renamed.txt")
        drive.change(trashed, trashed=True)
        drive.change(left, parents=[ROOT])
        drive.remove(lost)
        drive.add("outside.txt", "x")
        found = source.changes(token)
        assert {one.file_id: one.path for one in found.changed} == {new: "new.txt", changed: "renamed.txt"}
        assert set(found.gone) >= {trashed, left, lost}
        assert kept not in found.gone
        assert not found.whole
        assert source.changes(found.token or "").changed == ()
        drive.change(folder, name="other")
        assert source.changes(found.token or "").whole
        drive.forgets_before = len(drive.log)
        assert source.changes(token).whole


def test_an_expired_token_of_changes_is_no_empty_success(drive: Drive) -> None:
    drive.add("a.txt", "a")
    drive.forgets_before = 1000
    with connected(drive) as source:
        found = source.changes("1")
    assert (found.whole, found.changed, found.gone) == (True, (), ())
