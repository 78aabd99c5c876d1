"""Syncs over four sources: the same edits leave the same rows as a fresh ingestion, and embed what has changed, no more."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion_assets_tests.documents.drive_server import Drive, drive_server
from ingestion_assets_tests.documents.edited_sources import Archive, EditedSource, Folder, OnDrive, OnS3
from ingestion_assets_tests.documents.fronts import documents_front, make_tables
from ingestion_assets_tests.documents.synced import NONE, Synced, text_of
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.object_stores import S3Server, s3_server
from ingestion_assets_tests.servers import wait_until


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    with drive_server() as running:
        yield running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        running.make_bucket()
        yield running


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="module")
def front(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, roots: Path, drive: Drive, s3: S3Server
) -> Iterator[Front]:
    make_tables(postgres_url)
    with documents_front(
        postgres_url, tmp_path_factory.mktemp("home"), document_roots=str(roots), google_drive_url=drive.url, fsspec_protocols="s3",
        document_private_hosts="127.0.0.1",
    ) as running:  # fmt: skip
        assert s3.url
        yield running


@pytest.fixture(params=["folder", "zip", "drive", "s3"])
def source(request: pytest.FixtureRequest, roots: Path, drive: Drive, s3: S3Server) -> EditedSource:
    name = uuid.uuid4().hex
    made: dict[str, Any] = {
        "folder": lambda: Folder(roots / name), "zip": lambda: Archive(roots / f"{name}.zip"), "drive": lambda: OnDrive(drive),
        "s3": lambda: OnS3(s3.url, name),
    }  # fmt: skip
    return made[request.param]()


def test_the_same_edits_over_every_source(front: Front, source: EditedSource) -> None:
    names = ("kept.txt", "changed.txt", "touched.txt", "sub/renamed.txt", "moved.txt", "gone.txt")
    for name in names:
        source.write(name, text_of(name))
    one = Synced(front, source)
    assert one.sync() == {**NONE, "new": 6, "embedded": 6}
    assert one.sync() == {**NONE, "unchanged": 6 if source.kind != "google_drive" else 0, "embedded": 0}

    source.write("new.txt", text_of("new"))
    source.write("changed.txt", text_of("other things"))
    source.touch("touched.txt")
    source.move("sub/renamed.txt", "sub/other.txt")
    source.move("moved.txt", "away/moved.txt")
    source.remove("gone.txt")
    found = one.sync()
    assert found["embedded"] == 2
    assert (found["new"], found["changed"], found["removed"], found["restored"]) == (1, 1, 1, 0)
    assert found["renamed"] + found["moved"] == 2
    paths = ["away/moved.txt", "changed.txt", "kept.txt", "new.txt", "sub/other.txt", "touched.txt"]
    assert [row[0] for row in one.documents()] == paths
    fresh = Synced(front, source)
    fresh.sync()
    assert fresh.documents() == one.documents()

    source.write("gone.txt", text_of("gone.txt"))
    assert {**one.sync(), "unchanged": 0} == {**NONE, "restored": 1, "embedded": 0}
    assert "gone.txt" in [row[0] for row in one.documents()]


@pytest.mark.parametrize(
    "source", ["folder", "drive"], indirect=True
)  # one listed whole, one asked for its changes
def test_a_sync_that_would_remove_most_is_held(front: Front, source: EditedSource) -> None:
    names = [f"{number:02}.txt" for number in range(12)]
    for name in names:
        source.write(name, text_of(name))
    one = Synced(front, source)
    assert one.sync()["new"] == 12
    for name in names[:10]:
        source.remove(name)
    source.write("new.txt", text_of("new"))
    answer = one.answer().json()
    assert (answer["held"], answer["job_ids"]) == ("10 of 12 files would be removed", [])
    assert len(one.documents()) == 12
    held = one.client.get(one.where, params={"user_id": one.user}).json()["held"]
    assert (held["removed"], held["new"], held["reason"]) == (10, 1, answer["held"])
    assert {**one.sync(confirm=True), "unchanged": 0} == {**NONE, "new": 1, "removed": 10, "embedded": 1}
    assert len(one.documents()) == 3
    assert one.client.get(one.where, params={"user_id": one.user}).json()["held"] is None


def test_a_failed_file_is_not_tried_again_until_it_changes(front: Front, roots: Path) -> None:
    source = Folder(roots / uuid.uuid4().hex)
    source.write("good.txt", text_of("good"))
    source.write("empty.txt", "")
    one = Synced(front, source)
    answer = one.answer().json()
    wait_until(lambda: one.job(answer["job_ids"][0])["status"] == "failed", seconds=200, what="the job")
    assert one.answer().json()["job_ids"] == []
    source.write("empty.txt", text_of("no longer empty"))
    assert one.sync()["changed"] == 1
    assert len(one.documents()) == 2


def test_drives_token_moves_on_when_the_job_is_stored(front: Front, drive: Drive) -> None:
    source = OnDrive(drive)
    source.write("a.txt", text_of("a"))
    one = Synced(front, source)
    one.sync()
    source.write("b.txt", text_of("b"))
    drive.forgets_before = len(drive.log)  # 410: all is listed again, nothing is lost
    assert one.sync()["new"] == 1
    drive.revoked = True
    drive.tokens.clear()
    source.write("c.txt", text_of("c"))
    answer = one.answer()
    drive.revoked = False
    assert (answer.status_code, answer.json()["code"]) == (409, "needs_reauth")
    told = one.client.get(one.where, params={"user_id": one.user}).json()
    assert told["status"] == "needs_reauth"
    assert "new credentials" in told["error"]
    assert one.sync()["new"] == 1  # what came meanwhile was not passed over
    assert len(one.documents()) == 3
