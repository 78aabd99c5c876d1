"""What syncs, and jobs, read and choose by: their own options, whichever source it is of."""

import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion_assets.documents import source_connections
from ingestion_assets_tests.documents.drive_server import Drive, drive_server
from ingestion_assets_tests.documents.edited_sources import Archive, EditedSource, Folder, OnDrive
from ingestion_assets_tests.documents.fronts import documents_front, make_tables
from ingestion_assets_tests.documents.synced import NONE, Synced, text_of
from ingestion_assets_tests.frontdoor.conftest import Front


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    with drive_server() as running:
        yield running


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="module")
def front(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, roots: Path, drive: Drive
) -> Iterator[Front]:
    make_tables(postgres_url)
    home = tmp_path_factory.mktemp("home")
    with documents_front(
        postgres_url, home, document_roots=str(roots), google_drive_url=drive.url
    ) as running:
        yield running


@pytest.fixture(params=["folder", "zip", "drive"])
def source(request: pytest.FixtureRequest, roots: Path, drive: Drive) -> EditedSource:
    name = uuid.uuid4().hex
    made: dict[str, Any] = {
        "folder": lambda: Folder(roots / name), "zip": lambda: Archive(roots / f"{name}.zip"), "drive": lambda: OnDrive(drive),
    }  # fmt: skip
    return made[request.param]()


def excluding(*globs: str) -> dict[str, Any]:
    return {"source_specific_options": {"exclude": list(globs)}}


def test_what_the_options_leave_out_is_not_stored_and_leaves_the_search(
    front: Front, source: EditedSource
) -> None:
    for name in ("private/salaries.txt", "public.txt", "note.txt"):
        source.write(name, text_of(name))
    one = Synced(front, source, **excluding("private/"))
    assert one.sync()["new"] == 2
    assert one.paths() == ["note.txt", "public.txt"]

    source.write("private/more.txt", text_of("more"))
    source.write("private/salaries.txt", text_of("other salaries"))
    source.write("new.txt", text_of("new"))
    assert one.sync()["new"] == 1, "what has changed is chosen among, too"

    one.change(processing_options=excluding("note.txt"))
    found = one.sync()
    assert (found["new"], found["removed"]) == (2, 1), "all is looked at by the new options"
    assert one.paths() == ["new.txt", "private/more.txt", "private/salaries.txt", "public.txt"]

    one.change(processing_options={"source_specific_options": {"include": ["p*.txt", "private/"]}})
    assert one.sync()["removed"] == 1
    one.change(processing_options={})
    found = one.sync()
    assert (found["restored"], found["new"], found["embedded"]) == (2, 0, 0)


@pytest.mark.parametrize("source", ["folder", "drive"], indirect=True)
def test_options_that_leave_out_most_are_held(front: Front, source: EditedSource) -> None:
    for number in range(11):
        source.write(f"{number:02}.txt", text_of(str(number)))
    source.write("kept.md", text_of("kept"))
    one = Synced(front, source)
    assert one.sync()["new"] == 12
    one.change(processing_options=excluding("*.txt"))
    assert one.answer().json()["held"] == "11 of 12 files would be removed"
    assert len(one.documents()) == 12
    assert one.change(name="other")["held"] is not None
    assert one.change(processing_options=excluding("0*.txt"))["held"] is None, "that is not what waits"
    assert one.answer().json()["held"] == "10 of 12 files would be removed"
    assert one.sync(confirm=True)["removed"] == 10
    assert one.paths() == ["10.txt", "kept.md"]


def test_names_of_an_archive_are_read_by_the_connections_encoding(front: Front, roots: Path) -> None:
    name = "Отчет за январь.txt"

    class OldName(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 - what zipfile calls
            return name.encode("koi8-r"), 0

    source = Archive(roots / "old.zip")
    with zipfile.ZipFile(source.path, "w") as made:
        made.writestr(OldName("x.txt"), text_of("January"))
    one = Synced(front, source, source_specific_options={"encoding": "koi8-r"})
    assert one.sync()["new"] == 1
    assert one.paths() == [name]
    shown = one.client.get(f"{one.where}/files", params={"user_id": one.user}).json()
    assert [file["file_id"] for file in shown["items"]] == [name]
    one.change(processing_options={"source_specific_options": {"encoding": "cp866"}})
    assert {**one.sync(), "unchanged": 0} == {**NONE, "moved": 1, "embedded": 0}
    assert one.paths() == [name.encode("koi8-r").decode("cp866")]


def test_shortcuts_of_drive_are_followed_if_the_options_say_so(front: Front, drive: Drive) -> None:
    source = OnDrive(drive)
    source.write("own.txt", text_of("own"))
    elsewhere = drive.add("elsewhere.txt", text_of("elsewhere"))
    drive.shortcut("short", elsewhere, parent=source.top)
    one = Synced(front, source, source_specific_options={"follow_shortcuts": False})
    assert one.sync()["new"] == 1
    one.change(processing_options={})
    assert one.sync()["new"] == 1
    assert one.paths() == ["own.txt", "short"]


def test_jobs_and_syncs_that_have_the_password_take_all_that_it_opens(front: Front, roots: Path) -> None:
    source = Archive(roots / "locked.zip")
    source.write("a.txt", text_of("what is locked"))
    packed = bytearray(source.path.read_bytes())
    packed[packed.index(b"PK\1\2") + 8] |= 1  # "encrypted", by the archive's directory
    source.path.write_bytes(packed)
    one = Synced(front, source)
    id_ = one.where.rpartition("/")[2]
    selected = {"connection_id": id_, "source_type": source.kind, "file_ids": ["*"]}
    body = {"user_id": one.user, "name": "Locked", "file_selections": [selected]}
    assert one.client.post("/batch/jobs", json=body).status_code == 400, "nothing can be taken"
    options = {"source_specific_options": {"passwords": ["open sesame"]}}
    answer = one.client.post("/batch/jobs", json={**body, "processing_options": options})
    assert (answer.status_code, answer.json()["total_files"]) == (200, 1)
    with front.engine.begin() as connection:
        source_connections.change(
            connection, front.settings, id_, {"sync_options": options}, user_id=one.user
        )
    assert one.answer().json()["files"]["new"] == 1
