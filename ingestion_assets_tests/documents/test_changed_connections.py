"""Connections that are changed or deleted while others work with them: jobs, syncs, other changes."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.documents import source_connections, source_sync
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.source_sync import SyncOvertakenError
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets_tests.documents.drive_server import Drive, drive_server
from ingestion_assets_tests.documents.edited_sources import OnDrive
from ingestion_assets_tests.documents.job_front import USER, JobsFront, jobs_front, text_files
from ingestion_assets_tests.documents.waiting_sessions import held_up
from ingestion_assets_tests.embedding.stub_endpoint import StubEndpoint, stub_endpoint

OF_USER = {"user_id": USER}
HELD_ROW = "SELECT FROM documents.connections WHERE id = :id FOR UPDATE"
NO_NEW_JOBS = "LOCK TABLE documents.files IN SHARE MODE"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[StubEndpoint]:
    with stub_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    with drive_server() as running:
        yield running


@pytest.fixture(scope="module")
def front(
    postgres_url: str, endpoint: StubEndpoint, drive: Drive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    listed = json.dumps([{"url": endpoint.url, "key": endpoint.key, "models": ["stub"]}])
    with jobs_front(
        postgres_url, root, home, stack={"embedding_endpoints": listed}, google_drive_url=drive.url
    ) as running:
        yield running


def change(front: JobsFront, id_: str, **named: Any) -> httpx.Response:
    return front.client.patch(f"/batch/connections/{id_}", json={**OF_USER, **named})


def delete(front: JobsFront, id_: str) -> httpx.Response:
    return front.client.delete(f"/batch/connections/{id_}", params=OF_USER)


def sync(front: JobsFront, id_: str) -> httpx.Response:
    return front.client.post(f"/batch/connections/{id_}/sync", params=OF_USER)


def read(front: JobsFront, id_: str) -> dict[str, Any]:
    return front.client.get(f"/batch/connections/{id_}", params=OF_USER).raise_for_status().json()


def documents(front: JobsFront, id_: str) -> list[dict[str, Any]]:
    """Of a connection, with their texts."""
    listed = front.client.get("/batch/documents", params={**OF_USER, "connection_id": id_}).json()["items"]
    return [
        front.client.get(f"/batch/documents/{one['document_id']}", params=OF_USER).json() for one in listed
    ]


def at_the_endpoint(front: JobsFront, endpoint: StubEndpoint, id_: str, **options: Any) -> str:
    """A job, one file of which waits for vectors for a second."""

    def slow(_body: dict[str, Any]) -> None:
        time.sleep(1)

    job = front.create(id_, embedding_model_preference="stub", **options)
    endpoint.faults.append(slow)
    assert front.control(job, "start").status_code == 200
    front.until(
        job,
        lambda now: any(
            file["status"] == "embedding" for one in now["source_progress"] for file in one["files"]
        ),
        what="a file to wait for vectors",
    )
    return job


# Jobs


def test_files_of_a_deleted_connection_fail_and_none_of_it_is_found(
    front: JobsFront, endpoint: StubEndpoint
) -> None:
    id_ = front.connect(text_files(front.root / "deleted", 8, salt=" of those that are deleted"))
    job = at_the_endpoint(front, endpoint, id_, max_workers=2)
    assert delete(front, id_).status_code == 204
    now = front.over(job)
    assert (now["status"], now["failed_files"] > 0) == ("failed", True)
    failed = [file["error"] for file in front.files(job).values() if file["error"]]
    assert {(error["code"], error["message"]) for error in failed} == {
        ("not_found", "The connection was deleted.")
    }
    assert documents(front, id_) == []


def test_a_job_goes_on_with_the_place_that_its_connection_has_now(
    front: JobsFront, endpoint: StubEndpoint
) -> None:
    """The file in hand is read anew, too: a sync of the new place may have been there before it is stored."""
    before, now = (text_files(front.root / name, 6, salt=f" {name}") for name in ("before", "now"))
    id_ = front.connect(before)
    job = at_the_endpoint(front, endpoint, id_, max_workers=1)
    stored = front.read(job)["completed_files"]
    assert change(front, id_, config={"path": str(now)}).status_code == 200
    assert front.over(job)["status"] == "completed"
    texts = [one["text"] for one in documents(front, id_)]
    assert len(texts) == 6
    assert sum(" before " in text for text in texts) <= stored
    assert sum(" now " in text for text in texts) >= 6 - stored


# Changes


def test_two_changes_at_once_are_both_made(front: JobsFront) -> None:
    one, other = front.root / "one", front.root / "other"
    one.mkdir()
    other.mkdir()
    id_ = front.connect(one)
    named = {"name": "renamed"}, {"config": {"path": str(other)}}, {"sync_every_s": 3600}
    changes = [lambda given=given: change(front, id_, **given) for given in named]
    with held_up(front.engine, HELD_ROW, *changes, id=id_) as waiting:
        pass
    assert [answer.status_code for answer in waiting.results()] == [200, 200, 200]
    now = read(front, id_)
    assert (now["name"], now["config"]["path"], now["sync_every_s"]) == ("renamed", str(other), 3600)


def test_a_change_of_what_is_being_deleted_finds_no_connection(front: JobsFront) -> None:
    id_ = front.connect(text_files(front.root / "going", 1))
    with held_up(
        front.engine, "DELETE FROM documents.connections WHERE id = :id", lambda: change(front, id_, name="late"), id=id_
    ) as waiting:  # fmt: skip
        pass
    assert waiting.results()[0].status_code == 404


def test_only_a_schedule_that_is_given_sets_the_next_time(front: JobsFront) -> None:
    id_ = front.connect(text_files(front.root / "scheduled", 1))
    first = change(front, id_, sync_every_s=3600).json()["next_sync_at"]
    assert change(front, id_, name="other").json()["next_sync_at"] == first
    assert change(front, id_, config={"path": str(front.root / "scheduled")}).json()["next_sync_at"] == first
    assert change(front, id_, sync_every_s=3600).json()["next_sync_at"] > first
    assert change(front, id_, sync_every_s=None).json()["next_sync_at"] is None


def test_a_change_of_place_forgets_the_sync_that_was_held(front: JobsFront) -> None:
    folder = text_files(front.root / "held", 14, salt=" held")
    id_ = front.connect(folder)
    front.over(sync(front, id_).json()["job_ids"][0])
    for path in sorted(folder.iterdir())[:12]:
        path.unlink()
    assert sync(front, id_).json()["held"] == "12 of 14 files would be removed"
    assert change(front, id_, name="renamed").json()["held"]
    assert change(front, id_, config={"path": str(folder)}).json()["held"] is None


def test_what_an_older_configuration_met_is_not_said_of_the_new_one(front: JobsFront) -> None:
    folder = text_files(front.root / "renewed", 1)
    id_ = front.connect(folder)
    with front.engine.connect() as connection:
        old = source_connections.get(connection, id_)
    assert old is not None
    assert change(front, id_, config={"path": str(folder)}).status_code == 200
    error = source_connections.FileError("needs_reauth", "accessing", "The old credentials are refused.")
    with front.engine.begin() as connection:
        source_connections.note(connection, old, error)
    assert (read(front, id_)["status"], read(front, id_)["error"]) == ("active", None)


def test_a_model_that_is_not_to_be_had_is_refused_before_it_is_kept(front: JobsFront) -> None:
    folder = text_files(front.root / "modelled", 1)
    options = {"embedding_model_preference": "no-such-model"}
    body = {
        **OF_USER, "source_type": "local_directory", "name": "n", "config": {"path": str(folder)}, "processing_options": options,
    }  # fmt: skip
    id_ = front.connect(folder)
    place = ["body", "processing_options", "embedding_model_preference"]
    for answer in (
        front.client.post("/batch/connections", json=body),
        change(front, id_, processing_options=options),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, place)
    known = {"embedding_model_preference": "stub"}
    assert change(front, id_, processing_options=known).status_code == 200
    answer = change(front, id_, processing_options={"use_llm_parsing": True})
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "llm_unavailable")


# Syncs


def test_a_sync_of_what_is_deleted_meanwhile_says_so(front: JobsFront) -> None:
    id_ = front.connect(text_files(front.root / "synced", 2, salt=" synced"))
    with held_up(front.engine, HELD_ROW, lambda: sync(front, id_), id=id_) as waiting:
        waiting.connection.execute(sa.text("DELETE FROM documents.connections WHERE id = :id"), {"id": id_})
    (answer,) = waiting.results()
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "The connection was deleted while it was synced.",
    )


@pytest.mark.parametrize("deleted", [True, False])
def test_jobs_of_a_sync_that_is_overtaken_come_to_an_end(front: JobsFront, deleted: bool) -> None:
    """The connection goes, or changes, when the sync's job is being made."""
    name = f"overtaken{deleted}"
    folder, other = text_files(front.root / name, 2, salt=name), front.root / f"{name}2"
    other.mkdir()
    (other / "other.txt").write_text(f"The text of the place that is {name}.")
    id_ = front.connect(folder)
    with held_up(front.engine, NO_NEW_JOBS, lambda: sync(front, id_), at="INTO documents.files") as waiting:
        done = delete(front, id_) if deleted else change(front, id_, config={"path": str(other)})
        assert done.status_code in {200, 204}
    (answer,) = waiting.results()
    said = answer.json()
    assert answer.status_code == (404 if deleted else 409)
    assert said["detail"].startswith(
        f"The connection was {'deleted' if deleted else 'changed'} while it was synced"
    )
    (job,) = said["job_ids"]
    assert front.over(job)["status"] == "failed"
    assert {file["error"]["code"] for file in front.files(job).values() if file["error"]} == {"not_found"}
    if not deleted:
        found = sync(front, id_).json()
        front.over(found["job_ids"][0])
        assert [one["path"] for one in documents(front, id_)] == ["other.txt"]


def test_a_sync_and_the_deletion_of_its_connection_wait_for_each_other_in_one_order(
    front: JobsFront,
) -> None:
    """The sync is about to take a document out of the search when the connection is deleted."""
    folder = text_files(front.root / "ordered", 2, salt=" ordered")
    id_ = front.connect(folder)
    front.over(sync(front, id_).json()["job_ids"][0])
    next(folder.iterdir()).unlink()
    held = "SELECT FROM documents.documents WHERE connection_id = :id FOR UPDATE"
    with held_up(front.engine, held, lambda: sync(front, id_), at="documents.documents", id=id_) as waiting:
        waiting.also(lambda: delete(front, id_))
    assert [answer.status_code for answer in waiting.results()] == [200, 204]
    assert documents(front, id_) == []


def test_a_sync_whose_session_is_cut_is_to_be_repeated(front: JobsFront) -> None:
    id_ = front.connect(text_files(front.root / "cut", 2, salt=" cut"))
    with held_up(front.engine, HELD_ROW, lambda: sync(front, id_), id=id_) as waiting:
        waiting.cut()
    (answer,) = waiting.results()
    assert (answer.status_code, answer.json()["dependency"]) == (503, "postgresql")
    assert sync(front, id_).status_code == 200


def test_where_an_older_sync_stopped_is_not_where_the_changed_one_goes_on(
    front: JobsFront, drive: Drive
) -> None:
    """Else the token of the old place is kept, and the files of the new one are never listed."""
    old, new = OnDrive(drive), OnDrive(drive)
    old.write("old.txt", "The text of the old place.")
    new.write("new.txt", "The text of the new place.")
    with front.engine.begin() as connection:
        one = source_connections.create(
            connection,
            front.runs.settings,
            user_id=USER,
            source_type=old.kind,
            name="Moved",
            config=old.config,
        )

    def overtaken(_one: Connection, _entries: Sequence[Entry], /) -> list[str]:
        assert change(front, one.id, config=new.config).status_code == 200
        return ["job"]

    with pytest.raises(SyncOvertakenError) as raised:
        source_sync.sync(front.engine, front.runs.settings, one, overtaken)
    assert (raised.value.deleted, raised.value.job_ids) == (False, ["job"])
    assert front.rows("SELECT sync_token FROM documents.connections WHERE id = :id", id=one.id) == [(None,)]
    listed: list[str] = []

    def made(_one: Connection, entries: Sequence[Entry], /) -> list[str]:
        listed.extend(entry.path for entry in entries)
        return []

    source_sync.sync(front.engine, front.runs.settings, one, made)
    assert listed == ["new.txt"]
