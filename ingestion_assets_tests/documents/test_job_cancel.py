"""A job that is cancelled in the middle of a step stops within seconds: no process lives on, nothing half is stored, nothing changes later."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ingestion_assets_tests.documents.job_front import JobsFront, jobs_front, recount, text_files
from ingestion_assets_tests.embedding.stub_endpoint import StubEndpoint, stub_endpoint

WITHIN_S = 5.0
LOADED = 6  # a machine that does much else is that much slower


@pytest.fixture(scope="module")
def endpoint() -> Iterator[StubEndpoint]:
    with stub_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def front(
    postgres_url: str, endpoint: StubEndpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    listed = json.dumps([{"url": endpoint.url, "key": endpoint.key, "models": ["stub"]}])
    with jobs_front(postgres_url, root, home, stack={"embedding_endpoints": listed}) as running:
        yield running


def cancelled(front: JobsFront, job: str, step: str) -> None:
    """Cancel the job while a file is at a step, and look at what it leaves."""
    front.control(job, "start")
    front.until(
        job, lambda now: any(file["status"] == step for file in now["source_progress"][0]["files"]), what=step
    )
    began = time.monotonic()
    assert front.control(job, "cancel").status_code == 200
    lane = "SELECT count(*) FROM ingestion.leases WHERE flow = 'documents' AND lane = :job"
    while front.rows(lane, job=job) != [(0,)]:
        assert time.monotonic() - began < WITHIN_S * LOADED, (
            f"the run goes on {WITHIN_S * LOADED} s after the cancel"
        )
        time.sleep(0.05)
    after = front.read(job)
    assert after["status"] == "cancelled"
    assert {file["error"]["code"] for file in front.files(job).values() if file["error"]} == {"cancelled"}
    assert sum(recount(front, job).values()) == after["total_files"]
    assert front.rows("SELECT count(*) FROM documents.documents WHERE job_id = :job", job=job) == [
        (after["completed_files"],)
    ]
    assert front.read(job) == after


def test_while_a_file_is_parsed(front: JobsFront, shared_data: Path) -> None:
    folder = front.root / "bombs"
    folder.mkdir()
    (folder / "bomb.pdf").write_bytes((shared_data / "documents" / "hostile" / "bomb240MB.pdf").read_bytes())
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    cancelled(front, front.create(front.connect(folder)), "parsing")
    busy = [
        one
        for one in psutil.Process().children(recursive=True)
        if one.pid not in before and one.cpu_percent(0.2) > 50
    ]
    assert not busy


def test_while_texts_are_embedded(front: JobsFront, endpoint: StubEndpoint) -> None:
    job = front.create(front.connect(text_files(front.root / "texts", 3)), embedding_model_preference="stub")
    endpoint.faults.append(lambda _body: (429, {"Retry-After": "60"}, {}))
    cancelled(front, job, "embedding")
