"""Whose turn it is: what is urgent overtakes within a slice, and what waits says for what."""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.documents.job_front import JobsFront, jobs_front, text_files

SLICE_S = 0.5
LONG_FILES = 160  # more than a run has in hand


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    with jobs_front(postgres_url, root, home, documents_slice_s=SLICE_S, max_concurrent_jobs=1) as running:
        yield running


def test_an_urgent_job_begins_within_a_slice_and_what_it_overtook_goes_on(front: JobsFront) -> None:
    long_one = front.create(
        front.connect(text_files(front.root / "long", LONG_FILES, paragraphs=12)), max_workers=1
    )
    waiting = front.create(front.connect(text_files(front.root / "waiting", 1, salt=" that waits")))
    urgent = front.create(
        front.connect(text_files(front.root / "urgent", 1, salt=" of haste")), priority="urgent"
    )
    front.control(long_one, "start")
    front.until(long_one, lambda now: now["completed_files"] > 0, what="the long job to be under way")
    front.control(waiting, "start")
    said = front.read(waiting)
    assert (said["status"], said["waiting_for"]["reason"], said["waiting_for"]["position"]) == (
        "queued",
        "slot",
        1,
    )
    front.control(urgent, "start")
    assert front.over(urgent)["status"] == "completed"
    assert front.read(long_one)["status"] in {"running", "queued"}, "it was overtaken"
    assert front.read(waiting)["completed_files"] == 0, "it is younger than the job that went on"
    assert front.over(long_one)["completed_files"] == LONG_FILES
    assert front.over(waiting)["status"] == "completed"
    assert front.rows("SELECT max(attempts) FROM documents.files") == [(1,)]
    began = {job: front.read(job)["started_at"] for job in (long_one, urgent, waiting)}
    assert began[long_one] < began[urgent] < began[waiting]


def test_jobs_over_the_same_files_at_the_same_time_embed_each_text_once(front: JobsFront) -> None:
    folder = text_files(front.root / "same", 8, salt=" that two want")
    jobs = [front.create(front.connect(folder)) for _ in range(3)]
    for job in jobs:
        front.control(job, "start")
    assert [front.over(job)["completed_files"] for job in jobs] == [8, 8, 8]
    assert sum(work.done.embedded for work in front.runs.works if work.jobs[0] in jobs) == 8
