"""A job from a folder to its end, over HTTP and the WebSocket, with real runs."""

import json
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from ingestion_assets_tests.documents.job_front import (
    OVER,
    PATIENCE_S,
    USER,
    JobsFront,
    jobs_front,
    recount,
    text_files,
)
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN

SEQUENCE = {"X-API-Key": ADMIN_TOKEN}


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    with jobs_front(
        postgres_url, tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    ) as running:
        yield running


def test_a_job_from_its_creation_to_its_end(front: JobsFront) -> None:
    folder = text_files(front.root / "first", 6)
    (folder / "empty.txt").write_bytes(b"")
    one = front.connect(folder)
    job = front.create(one)
    assert front.read(job)["total_files"] == 7
    with connect(front.socket_url, additional_headers=SEQUENCE) as socket:
        assert front.control(job, "start").json() == {
            "success": True,
            "message": "Job start successful",
            "status": "queued",
        }
        seen = []
        while not seen or seen[-1].get("job", {}).get("status") not in OVER:
            seen.append(json.loads(socket.recv(timeout=PATIENCE_S)))
    assert seen[0]["type"] == "connection_established"
    sequences = [one["sequence"] for one in seen[2:]]
    assert sequences == list(range(seen[0]["sequence"] + 1, seen[0]["sequence"] + 1 + len(sequences)))
    progress = [one["job"]["progress_percentage"] for one in seen if one["type"] == "job_update"]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert all(one < 100 for one in progress[:-2])
    now = front.read(job)
    assert (now["status"], now["completed_files"], now["failed_files"]) == ("failed", 6, 1)
    assert recount(front, job) == {"completed": 6, "failed": 1}
    files = front.files(job)
    assert files["empty.txt"]["error"]["code"] == "empty_file"
    assert files["file000.txt"]["chunks"] == 1

    again = front.run(one)
    assert (again["skipped_files"], again["failed_files"]) == (6, 1)
    copied = front.run(front.connect(text_files(front.root / "second", 6)))
    assert (copied["status"], copied["completed_files"]) == ("completed", 6)
    assert front.rows("SELECT count(*), count(DISTINCT content_id) FROM documents.documents") == [(12, 6)]
    assert [work.done.embedded for work in front.runs.works] == [6, 0, 0]
    assert all(not wrong for work in front.runs.works for wrong in work.faults().values())

    counted = front.client.get("/batch/statistics", params={"user_id": USER}).json()
    assert counted["total_files_processed"] == 20
    assert counted["by_status"] == {"completed": 1, "failed": 2}
    day = front.rows("SELECT partition FROM ingestion.drops WHERE flow = 'documents' LIMIT 1")[0][0]
    before = front.rows("SELECT * FROM documents.files ORDER BY job_id, number")
    front.runs.rebuild(day)
    assert front.rows("SELECT * FROM documents.files ORDER BY job_id, number") == before
