"""Selections over HTTP: what a request names is taken or refused when the job is created, and listings lead to their end."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ingestion_assets.documents import source_connections
from ingestion_assets_tests.documents.drive_server import OAUTH, Drive, drive_server
from ingestion_assets_tests.documents.job_front import USER, JobsFront, jobs_front


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    with drive_server() as running:
        yield running


@pytest.fixture(scope="module")
def front(postgres_url: str, drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    with jobs_front(postgres_url, root, home, google_drive_url=drive.url) as running:
        yield running


def made(
    front: JobsFront,
    connection: str,
    *file_ids: str,
    times: int = 1,
    kind: str = "local_directory",
    **source_options: Any,
) -> httpx.Response:
    """A job of the same selection so many times."""
    selection = {"connection_id": connection, "source_type": kind, "file_ids": file_ids}
    body = {
        "user_id": USER, "name": "Test", "processing_options": {"source_specific_options": source_options},
        "file_selections": [selection] * times,
    }  # fmt: skip
    return front.client.post("/batch/jobs", json=body)


def taken(front: JobsFront, connection: str, *file_ids: str) -> list[str]:
    answer = made(front, connection, *file_ids)
    assert answer.status_code == 200, answer.text
    return [file["file_id"] for source in answer.json()["source_progress"] for file in source["files"]]


def folder_of(front: JobsFront, name: str, *files: str) -> str:
    folder = front.root / name
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"The text of {file}.")
    return front.connect(folder)


def test_a_file_is_taken_by_its_id_whatever_signs_are_in_it(front: JobsFront) -> None:
    one = folder_of(front, "signs", "a[1].txt", "a1.txt", "why?.txt", "whyX.txt")
    assert taken(front, one, "a[1].txt") == ["a[1].txt"]
    assert taken(front, one, "why?.txt") == ["why?.txt"]
    assert taken(front, one, "wh??.txt") == ["why?.txt", "whyX.txt"]


def test_a_folder_is_selected_by_a_slash_and_refused_without(front: JobsFront) -> None:
    one = folder_of(front, "ids", "reports/a.txt", "reports/q1/b.txt", "c.txt")
    assert taken(front, one, "reports/") == ["reports/a.txt", "reports/q1/b.txt"]
    answer = made(front, one, "c.txt", "reports", "/reports/a.txt", "n" * 300 + ".txt", "reports/a.txt/")
    assert answer.status_code == 400
    assert [(item["type"], item["msg"].partition(" (")[2]) for item in answer.json()["errors"]] == [
        ("not_found", "it is a folder and no file)"),
        ("not_found", "the path is not taken: it is absolute)"),
        ("not_found", "a name in it is longer than the file system takes)"),
        ("not_found", ""),
    ]
    assert answer.json()["detail"].startswith(
        "Invalid file selection: not found: reports (it is a folder and no file); "
    )


def test_a_request_has_so_many_globs_at_most(front: JobsFront) -> None:
    names = [f"report {number} [final].txt" for number in range(150)]
    one = folder_of(front, "globs", *names)
    assert len(taken(front, one, *names)) == 150
    assert len(taken(front, one, *[f"report {number} *" for number in range(100)])) == 100
    answer = made(front, one, *[f"report {number} *" for number in range(101)])
    assert answer.status_code == 422
    assert [item["type"] for item in answer.json()["errors"]] == ["too_many_globs"]
    assert "101 of the ids" in answer.json()["detail"]
    answer = made(front, one, *[f"report {number} *" for number in range(40)], times=3)
    assert (answer.status_code, answer.json()["errors"][0]["loc"][2]) == (422, 2)
    answer = made(front, one, "*", include=["x" * 1001])
    assert answer.status_code == 422
    assert "include: a glob has 1,000 characters at most" in answer.text


def test_ids_are_taken_of_a_source_that_is_away_if_they_could_be_files(
    front: JobsFront, drive: Drive
) -> None:
    with front.engine.begin() as connection:
        one = source_connections.create(
            connection, front.runs.settings, user_id=USER, source_type="google_drive", name="away", config={"oauth": OAUTH}
        ).id  # fmt: skip
    drive.revoked = True
    anyway = made(front, one, "an-id", "another-id", kind="google_drive")
    assert (anyway.status_code, anyway.json()["total_files"]) == (200, 2)
    refused = made(front, one, "an-id", "/b.txt", kind="google_drive")
    assert (refused.status_code, [item["msg"] for item in refused.json()["errors"]]) == (
        400, ["not found: /b.txt (it is absolute)"],
    )  # fmt: skip
    assert made(front, one, "an-id", "reports/", kind="google_drive").status_code == 503


PARTS = ("Отчёты отдела за год " * 6, "a\1" * 100, "\N{GRINNING FACE}" * 50, '"[' * 100)


@pytest.mark.parametrize("part", PARTS, ids=["words", "controls", "wide", "quotes"])
def test_listings_of_long_and_odd_paths_lead_to_their_end(front: JobsFront, part: str) -> None:
    number = PARTS.index(part)
    top = front.root / f"deep{number}"
    inner = top.joinpath(*[part] * ((3800 - len(bytes(top))) // (len(part.encode()) + 1)))
    inner.mkdir(parents=True)
    for file in ("a\1.txt", "b[1].txt", "c.txt"):
        (inner / file).write_text(f"The text of {file} in {number}.")
    one = front.connect(top)
    listed = [file["file_id"] for file in pages(front, f"/batch/connections/{one}/files")]
    assert [file.rpartition("/")[2] for file in listed] == ["a\1.txt", "b[1].txt", "c.txt"]
    assert taken(front, one, *listed) == listed


def test_documents_whose_names_hold_separators_are_listed_to_the_end(front: JobsFront) -> None:
    one = folder_of(front, "separators", *[f"a\1{number}.txt" for number in range(3)], "b.txt")
    assert front.run(one)["completed_files"] == 4
    stored = [file["path"] for file in pages(front, "/batch/documents", connection_id=one)]
    assert sorted(stored) == ["a\x010.txt", "a\x011.txt", "a\x012.txt", "b.txt"]


def pages(front: JobsFront, where: str, **parameters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while len(found) < 10:
        answer = front.client.get(where, params={"user_id": USER, "limit": 1, **parameters, **cursor})
        assert answer.status_code == 200, answer.text[:500]
        found += answer.json()["items"]
        if answer.json()["next"] is None:
            return found
        cursor = {"cursor": answer.json()["next"]}
    raise AssertionError("the pages have no end")
