"""A job from a folder to its end, over HTTP, with real runs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.server import create_app
from ingestion_assets.stores.postgres import engine as engine_of
from ingestion_assets_tests.documents.job_runs import JobRuns
from ingestion_assets_tests.frontdoor.conftest import Front, served, settings_for
from ingestion_assets_tests.servers import wait_until

USER = "user123"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    for number in range(6):
        text = "\n\n".join(
            f"Paragraph {part} of file {number} is about subject {number * 7 + part}." for part in range(5)
        )
        (made / f"file{number}.txt").write_text(text, encoding="utf-8")
    (made / "empty.txt").write_bytes(b"")
    return made


@pytest.fixture
def front(
    documents_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Front]:
    monkeypatch.setenv("INGESTION_DOCUMENT_ROOTS", str(tmp_path))
    settings = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=documents_url)
    own = engine_of(documents_url)
    runs = JobRuns(engine=own, settings=settings, chosen=DocumentsSettings())
    app = create_app(settings, launch=runs)
    with served(app) as url:
        yield Front(url=url, engine=own, runs=runs, settings=settings, app=app)
    runs.end()


def connection_to(front: Front, folder: Path) -> str:
    with front.engine.begin() as connection:
        return source_connections.create(
            connection, front.settings, user_id=USER, source_type="local_directory", name="files", config={"path": str(folder)},
        ).id  # fmt: skip


def test_a_job_from_its_creation_to_its_end(front: Front, folder: Path) -> None:
    one = connection_to(front, folder)
    body = {
        "user_id": USER, "name": "Test", "file_selections": [{"connection_id": one, "source_type": "local_directory", "file_ids": ["*"]}],
    }  # fmt: skip
    with front.client() as client:
        made = client.post("/batch/jobs", json=body)
        assert made.status_code == 200, made.text
        job = made.json()
        assert (job["status"], job["total_files"]) == ("pending", 7)
        began = time.monotonic()
        url = front.url.replace("http", "ws") + f"/batch/ws/{USER}"
        with connect(url, additional_headers={"X-API-Key": "test-admin-token"}) as socket:
            started = client.post(
                f"/batch/jobs/{job['job_id']}/control", json={"user_id": USER, "action": "start"}
            )
            assert started.status_code == 200, started.text
            seen = []
            while True:
                said = json.loads(socket.recv(timeout=60))
                seen.append(said)
                if said["type"] == "job_update" and said["job"]["status"] in {"completed", "failed"}:
                    break
        print(time.monotonic() - began)
        sequences = [one["sequence"] for one in seen[2:]]
        print(json.dumps(seen[-1], indent=1))
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        now = client.get(f"/batch/jobs/{job['job_id']}", params={"user_id": USER}).json()
        print(json.dumps(now, indent=1)[:6000])
        assert now["completed_files"] == 6 and now["failed_files"] == 1
        again = client.post("/batch/jobs", json=body).json()
        client.post(f"/batch/jobs/{again['job_id']}/control", json={"user_id": USER, "action": "start"})

        def over() -> bool:
            return client.get(f"/batch/jobs/{again['job_id']}", params={"user_id": USER}).json()[
                "status"
            ] in {"completed", "failed"}

        wait_until(over, seconds=60, what="second job")
        second = client.get(f"/batch/jobs/{again['job_id']}", params={"user_id": USER}).json()
        assert second["skipped_files"] == 6, second
        print(client.get("/batch/statistics", params={"user_id": USER}).json())
