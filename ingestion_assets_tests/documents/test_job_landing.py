"""A job whose payload has not landed takes no control; a payload that no job waits for goes; what is asked for twice is one job."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.documents import batch_jobs, job_agreement
from ingestion_assets.documents.flow import FileEntry, JobPayload
from ingestion_assets.documents.job_agreement import RESERVED_S
from ingestion_assets_tests.documents.job_front import USER, JobsFront, jobs_front, text_files

JOB = f"job_{7:032x}"
HELD = "SELECT count(*) FROM ingestion.drops WHERE flow = 'documents' AND state = 'held' AND lane = :job"


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    with jobs_front(postgres_url, root, home) as running:
        yield running


@pytest.fixture(scope="module")
def connection_id(front: JobsFront) -> str:
    return front.connect(text_files(front.root / "texts", 2))


def test_a_job_whose_payload_has_not_landed_takes_no_control_and_goes_where_none_lands(
    front: JobsFront,
) -> None:
    file = FileEntry("conn", "local_directory", "a.txt", "a.txt", "a.txt", 1)
    payload = JobPayload(JOB, USER, name="New", selections=[], options={}, model="m", files=[file])
    with front.engine.begin() as connection:
        batch_jobs.insert(connection, payload, principal="me")
    for action in ("start", "cancel"):
        answer = front.control(JOB, action)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), action
        assert "just being created" in answer.json()["detail"]
    assert front.read(JOB)["status"] == "pending"
    _earlier(front, "documents.jobs", "created_at", f"id = '{JOB}'")
    with front.engine.begin() as connection:
        job_agreement.agree(connection)  # the front door's own sweep may have been first
    assert front.rows("SELECT FROM documents.jobs WHERE id = :job", job=JOB) == []


def test_a_job_that_was_not_told_that_its_payload_landed_is_started(
    front: JobsFront, connection_id: str
) -> None:
    job = front.create(connection_id)
    with front.engine.begin() as connection:
        connection.execute(sa.text("UPDATE documents.jobs SET drop_id = NULL WHERE id = :job"), {"job": job})
    assert front.control(job, "start").status_code == 200
    assert front.over(job)["status"] == "completed"


def test_of_retries_at_once_one_is_taken_and_the_others_leave_nothing(
    front: JobsFront, connection_id: str
) -> None:
    job = front.run(connection_id)["job_id"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: front.control(job, "retry", retry_failed_only=False).status_code, range(6))
        )
    assert answers.count(200) >= 1, answers
    assert set(answers) <= {200, 409}
    front.over(job)
    assert front.rows(HELD, job=job) == [(0,)]


def test_a_retry_whose_payload_did_not_land_changes_nothing(front: JobsFront, connection_id: str) -> None:
    """As where the job was not over yet when its payload was to land."""
    job = front.run(connection_id)["job_id"]
    with pytest.raises(batch_jobs.NotLandedError), front.engine.begin() as connection:
        batch_jobs.control(connection, job, "retry")
    assert front.read(job)["status"] == "completed"


def test_a_held_payload_that_no_job_waits_for_is_cancelled(front: JobsFront, connection_id: str) -> None:
    waiting, gone = front.create(connection_id), front.create(connection_id)
    with front.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM documents.jobs WHERE id = :job"), {"job": gone})
    _earlier(front, "ingestion.drops", "received_at", f"lane IN ('{waiting}', '{gone}')")
    with front.engine.begin() as connection:
        job_agreement.cancel_strays(connection)
    assert front.rows(HELD, job=gone) == [(0,)]
    assert front.rows(HELD, job=waiting) == [(1,)]


def test_a_key_that_comes_again_with_another_password_is_refused(
    front: JobsFront, connection_id: str
) -> None:
    def created(password: str) -> httpx.Response:
        selection = {"connection_id": connection_id, "source_type": "local_directory", "file_ids": ["*"]}
        options = {"source_specific_options": {"passwords": [password]}}
        body = {
            "user_id": USER,
            "name": "Locked",
            "file_selections": [selection],
            "processing_options": options,
        }
        return front.client.post("/batch/jobs", json=body, headers={"Idempotency-Key": '"locked"'})

    first = created("open sesame")
    assert first.status_code == 200
    assert created("open sesame").json()["job_id"] == first.json()["job_id"]
    assert created("open barley").status_code == 422


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"encoding": "klingon"}, "'klingon' is no encoding"),
        ({"encoding": "base64"}, "'base64' is no encoding"),
        ({"encoding": "a\0b"}, "encoding"),
        ({"export_formats": {"document": "exe"}}, "'document' as 'exe' cannot be"),
        ({"export_formats": {"a\0b": "pdf"}}, "export_formats"),
        ({"include": ["a\0b"]}, "include"),
    ],
)
def test_options_by_which_no_file_can_be_processed_are_refused(
    front: JobsFront, connection_id: str, source: dict[str, object], place: str
) -> None:
    options = {"source_specific_options": source}
    selection = {"connection_id": connection_id, "source_type": "local_directory", "file_ids": ["*"]}
    job = {"user_id": USER, "name": "Wrong", "file_selections": [selection], "processing_options": options}
    kept = {
        "user_id": USER, "name": "Wrong", "source_type": "local_directory", "config": {"path": str(front.root / "texts")},
        "processing_options": options,
    }  # fmt: skip
    for path, body in (("/batch/jobs", job), ("/batch/connections", kept)):
        answer = front.client.post(path, json=body)
        assert answer.status_code == 422, answer.text
        assert place in answer.text


def test_options_that_were_kept_before_they_were_refused_still_make_jobs(front: JobsFront) -> None:
    one = front.connect(text_files(front.root / "kept", 1))
    with front.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE documents.connections SET sync_options = CAST(:options AS jsonb) WHERE id = :one"
            ),
            {"one": one, "options": '{"source_specific_options": {"encoding": "klingon"}}'},
        )
    answer = front.client.post(f"/batch/connections/{one}/sync", params={"user_id": USER})
    assert (answer.status_code, len(answer.json()["job_ids"])) == (200, 1)


def test_a_retry_by_a_code_that_there_is_not_is_refused(front: JobsFront, connection_id: str) -> None:
    job = front.run(connection_id)["job_id"]
    answer = front.control(job, "retry", error_codes=["emptyfile"])
    assert answer.status_code == 422
    assert "'empty_file'" in answer.text
    assert front.read(job)["status"] == "completed"


def _earlier(front: JobsFront, table: str, column: str, where: str) -> None:
    with front.engine.begin() as connection:
        connection.execute(
            sa.text(f"UPDATE {table} SET {column} = {column} - make_interval(secs => :s) WHERE {where}"),
            {"s": RESERVED_S + 1},
        )
