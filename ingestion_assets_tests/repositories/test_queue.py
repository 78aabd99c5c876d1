"""The queue at the front door: ten wait and no more, each once; what waits too long is skipped; nothing acknowledged is lost."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.repositories import index_jobs
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.stores.embedded import embedded_postgres, free_port
from ingestion_assets.stores.postgres import migrate
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.repositories.conftest import make_tables
from ingestion_assets_tests.repositories.test_addresses import REFUSED
from ingestion_assets_tests.servers import start, stop, wait_until

CLIENTS = 64
INGEST = "/api/v1/ingestion/ingest"
DAY_S = 86_400.0


def at_once(front: Front, paths: list[str]) -> list[httpx.Response]:
    """The answers to requests that as many clients send at once, each over a connection of its own."""
    with front.client() as client, ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(lambda path: client.post(f"{INGEST}/{path}"), paths))


def query(engine: sa.Engine, text: str, **values: Any) -> list[Any]:
    with engine.begin() as connection:
        found = connection.execute(sa.text(text), values)
        return list(found.all()) if found.returns_rows else []


def test_of_64_clients_with_64_repositories_ten_get_a_place_each(front: Front) -> None:
    answers = at_once(front, [f"github.com/example/repo{number}" for number in range(CLIENTS)])
    taken = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(taken), len(refused)) == (10, 54)
    assert sorted(one["queue_position"] for one in taken) == list(range(1, 11))
    assert len({one["job_id"] for one in taken}) == 10
    for one in taken:
        assert (one["status"], one["max_queue_size"], one["target"]) == ("dispatched", 10, "Offline")
        assert one["queue_position"] == one["queue_size"] <= 10
    for answer in refused:
        said = answer.json()
        assert said["detail"] == "Queue is full (10 pending tasks). Please try again later."
        assert (said["queue_size"], said["max_queue_size"]) == (10, 10)
        assert int(answer.headers["Retry-After"]) >= 1
    # Durable: a payload on landing storage and a job for each, and no more.
    assert query(front.engine, "SELECT count(*) FROM ingestion.drops WHERE flow = 'repositories'") == [(10,)]
    assert query(front.engine, "SELECT count(*) FROM repositories.jobs WHERE drop_id IS NOT NULL") == [(10,)]


def test_the_same_repository_64_times_is_one_job(front: Front) -> None:
    spelt = ["github.com/example/one", "https://github.com/example/one.git", "github.com/example/one/"]
    answers = at_once(front, [spelt[number % 3] for number in range(CLIENTS)])
    assert {answer.status_code for answer in answers} == {200}
    said = [answer.json() for answer in answers]
    assert {(one["job_id"], one["queue_position"], one["queue_size"]) for one in said} == {
        (said[0]["job_id"], 1, 1)
    }
    assert Counter(one["already_queued"] for one in said) == {True: CLIENTS - 1, False: 1}
    assert query(front.engine, "SELECT partition FROM repositories.jobs") == [("github.com/example/one",)]


def test_branches_of_a_repository_are_jobs_of_their_own(front: Front) -> None:
    with front.client() as client:
        ids = {
            client.post(f"{INGEST}/github.com/example/one", params=params).json()["job_id"]
            for params in ({}, {"ref": "dev"}, {"ref": "main"}, {"ref": "dev"})
        }
    assert len(ids) == 3


def test_what_waits_for_more_than_a_day_is_skipped_and_its_place_free(front: Front) -> None:
    with front.client() as client:
        for number in range(10):
            client.post(f"{INGEST}/github.com/example/repo{number}").raise_for_status()
        assert client.post(f"{INGEST}/github.com/example/eleventh").status_code == 429
        query(front.engine, "UPDATE repositories.jobs SET queued_at = queued_at - interval '25 hours'")
        wait_until(
            lambda: len(client.get("/api/v1/ingestion/jobs/history?limit=100").json()["jobs"]) == 10,
            seconds=60,
            what="the queue to be swept",
        )
        history = client.get("/api/v1/ingestion/jobs/history?limit=100").json()["jobs"]
        assert {(one["status"], one["reason"]) for one in history} == {("skipped", "Task exceeded TTL")}
        assert all(25 * 3600 <= one["age_seconds"] < 25 * 3600 + 120 for one in history)
        assert "duration_seconds" not in history[0]
        again = client.post(f"{INGEST}/github.com/example/eleventh").json()
        assert (again["queue_position"], again["queue_size"]) == (1, 1)
        receipts = query(
            front.engine, "SELECT state, result ->> 'status' FROM ingestion.drops ORDER BY id LIMIT 10"
        )
        assert set(receipts) == {("done", "skipped")}


def test_what_names_no_repository_is_400_and_no_job(front: Front) -> None:
    with front.client() as client:
        for text in REFUSED:
            answer = client.post(f"{INGEST}/{quote(text, safe='')}")
            assert (answer.status_code, answer.json()["detail"][:24]) == (400, "Invalid repository URL: "), (
                text
            )
            assert "secret" not in answer.text
    assert query(front.engine, "SELECT FROM repositories.jobs") == []


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", ""])
def test_history_is_of_1_to_100_jobs(front: Front, limit: str) -> None:
    with front.client(None) as client:
        answer = client.get("/api/v1/ingestion/jobs/history", params={"limit": limit})
        assert answer.status_code == 422
        assert "limit" in answer.json()["detail"]


def test_who_may_ask_what(front: Front) -> None:
    with front.client(None) as anybody, front.client(front.key("read")) as reader:
        assert anybody.post(f"{INGEST}/github.com/example/one").status_code == 401
        assert reader.post(f"{INGEST}/github.com/example/one").status_code == 403
        assert anybody.get("/api/v1/ingestion/jobs/history").json() == {"jobs": []}
        assert anybody.get("/api/v1/ingestion/worker/status").json() == {
            "status": "Offline", "workers": [], "running": [],
        }  # fmt: skip
    with front.client(front.key("repos")) as sender:
        assert sender.post(f"{INGEST}/github.com/example/one").status_code == 200
        refused = sender.post(f"{INGEST}/file:///etc/passwd")
        assert (refused.status_code, refused.json()["detail"][:22]) == (400, "Invalid repository URL")


def test_a_place_whose_payload_never_came_is_free_after_a_minute(engine: sa.Engine) -> None:
    submission = Submission("github.com/example/one")
    with engine.begin() as connection:
        place = index_jobs.take_place(connection, submission, principal="p", most=1, ttl_s=DAY_S)
    assert (place.position, place.again) == (1, False)
    with engine.begin() as connection:
        other = index_jobs.take_place(
            connection, Submission("github.com/example/two"), principal="p", most=1, ttl_s=DAY_S
        )
        assert (other.id, other.size) == (None, 1)
    query(engine, "UPDATE repositories.jobs SET queued_at = queued_at - interval '61 seconds'")
    with engine.begin() as connection:
        other = index_jobs.take_place(
            connection, Submission("github.com/example/two"), principal="p", most=1, ttl_s=DAY_S
        )
        assert (other.position, other.size, other.again) == (1, 1, False)
    with engine.begin() as connection:
        index_jobs.sweep(connection, ttl_s=DAY_S)
    assert query(engine, "SELECT partition FROM repositories.jobs") == [("github.com/example/two",)]


def test_a_payload_without_a_job_gets_one(front: Front) -> None:
    with front.client() as client:
        job = client.post(f"{INGEST}/github.com/example/one", params={"ref": "dev"}).json()["job_id"]
    before = query(front.engine, "TABLE repositories.jobs")
    query(front.engine, "DELETE FROM repositories.jobs")
    with front.engine.begin() as connection:
        index_jobs.sweep(connection, ttl_s=DAY_S)
    after = query(front.engine, "TABLE repositories.jobs")
    assert [(one.id, one.repository, one.ref, one.drop_id, one.state) for one in after] == [
        (job, "github.com/example/one", "dev", before[0].drop_id, "pending")
    ]


def test_a_cancelled_payload_ends_its_job(front: Front) -> None:
    with front.client() as client:
        receipt = client.post(f"{INGEST}/github.com/example/one").json()["receipt_url"]
        client.post(f"{receipt}/cancel").raise_for_status()
        wait_until(
            lambda: client.get("/api/v1/ingestion/jobs/history").json()["jobs"],
            seconds=60,
            what="the job to have its outcome",
        )
        (job,) = client.get("/api/v1/ingestion/jobs/history").json()["jobs"]
        assert (job["status"], job["error"]) == ("failed", "it was cancelled on request")


def swept(front: Front) -> None:
    with front.engine.begin() as connection:
        index_jobs.sweep(connection, ttl_s=DAY_S)


def aged(front: Front, by: str) -> None:
    query(front.engine, f"UPDATE repositories.jobs SET queued_at = queued_at - interval '{by}'")


def test_what_was_cancelled_and_is_submitted_again_is_another_job_at_once(front: Front) -> None:
    with front.client() as client:
        first = client.post(f"{INGEST}/github.com/example/one").json()
        client.post(f"{first['receipt_url']}/cancel").raise_for_status()
        second = client.post(f"{INGEST}/github.com/example/one").json()
        assert (second["already_queued"], second["queue_position"], second["queue_size"]) == (False, 1, 1)
        assert second["job_id"] > first["job_id"]
        assert client.get(second["receipt_url"]).json()["state"] == "landed"
        ended = client.get("/api/v1/ingestion/jobs/history").json()["jobs"]
        assert [(one["job_id"], one["error"]) for one in ended] == [
            (first["job_id"], "it was cancelled on request")
        ]


def test_places_of_what_was_cancelled_are_free_at_once(front: Front) -> None:
    with front.client() as client:
        for number in range(10):
            receipt = client.post(f"{INGEST}/github.com/example/repo{number}").json()["receipt_url"]
            client.post(f"{receipt}/cancel").raise_for_status()
        answer = client.post(f"{INGEST}/github.com/example/eleventh")
        assert (answer.status_code, answer.json()["queue_size"]) == (200, 1)


def test_what_another_key_has_paused_goes_on_where_it_is_submitted_and_its_receipt_is_readable(
    front: Front,
) -> None:
    with front.client(front.key("repos")) as one, front.client(front.key("repos")) as other:
        first = one.post(f"{INGEST}/github.com/example/one").json()
        one.post(f"{first['receipt_url']}/pause").raise_for_status()
        second = other.post(f"{INGEST}/github.com/example/one").json()
        assert (second["job_id"], second["already_queued"], second["queue_size"]) == (
            first["job_id"], True, 1,
        )  # fmt: skip
        assert other.get(second["receipt_url"]).json()["state"] == "landed"
        assert other.post(f"{second['receipt_url']}/cancel").status_code == 403
    with front.client(front.key("conversations")) as stranger:
        assert stranger.get(first["receipt_url"]).status_code == 404


def test_what_is_paused_for_more_than_a_day_is_skipped_and_its_place_free(front: Front) -> None:
    with front.client() as client:
        receipts = []
        for number in range(10):
            receipts.append(client.post(f"{INGEST}/github.com/example/repo{number}").json()["receipt_url"])
            client.post(f"{receipts[-1]}/pause").raise_for_status()
        assert client.post(f"{INGEST}/github.com/example/eleventh").status_code == 429
        aged(front, "25 hours")
        assert client.post(f"{INGEST}/github.com/example/eleventh").json()["queue_size"] == 1
        swept(front)
        assert [client.get(one).json()["state"] for one in receipts] == ["done"] * 10
        history = client.get("/api/v1/ingestion/jobs/history?limit=100").json()["jobs"]
        assert [one["status"] for one in history] == ["skipped"] * 10


def test_the_day_of_what_is_submitted_again_begins_anew(front: Front) -> None:
    with front.client() as client:
        first = client.post(f"{INGEST}/github.com/example/one").json()
        aged(front, "23 hours 59 minutes 58 seconds")
        assert client.post(f"{INGEST}/github.com/example/one").json()["job_id"] == first["job_id"]
        aged(front, "23 hours")
        swept(front)
        assert client.get(first["receipt_url"]).json()["state"] == "landed"
        aged(front, "2 hours")
        later = client.post(f"{INGEST}/github.com/example/one").json()
        assert (later["already_queued"], later["queue_position"], later["queue_size"]) == (False, 1, 1)
        assert client.get(first["receipt_url"]).json()["result"]["status"] == "skipped"


def test_eight_keys_at_once_land_a_payload_once_and_delete_leaves_none(front: Front) -> None:
    def send(key: str) -> httpx.Response:
        with front.client(key) as client:
            said = client.post(f"{INGEST}/github.com/example/one").json()
            return client.get(said["receipt_url"])

    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(send, [front.key("repos") for _ in range(8)]))
    assert {answer.status_code for answer in receipts} == {200}
    assert len({answer.json()["id"] for answer in receipts}) == 1
    open_ones = "SELECT count(*) FROM ingestion.drops WHERE state IN ('landed', 'claimed', 'held')"
    assert query(front.engine, open_ones) == [(1,)]
    with front.client() as client:
        assert client.delete("/api/v1/repositories/github.com/example/one").status_code == 204
    assert query(front.engine, open_ones) == [(0,)]


def test_an_idempotency_key_gives_its_job_for_ever(front: Front) -> None:
    with front.client() as client:
        key = {"Idempotency-Key": "one"}
        first = client.post(f"{INGEST}/github.com/example/one", headers=key)
        assert "Idempotent-Replayed" not in first.headers
        query(front.engine, "UPDATE repositories.jobs SET state = 'complete', ended_at = clock_timestamp()")
        again = client.post(f"{INGEST}/github.com/example/one", headers=key)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["X-Receipt-Id"] == first.headers["X-Receipt-Id"]
        assert (again.json()["job_id"], again.json()["queue_position"]) == (first.json()["job_id"], 0)
        assert client.post(f"{INGEST}/github.com/example/two", headers=key).status_code == 422
        other = client.post(f"{INGEST}/github.com/example/one", headers={"Idempotency-Key": "two"})
        assert other.json()["job_id"] > first.json()["job_id"]


def test_while_postgresql_is_away_nothing_is_promised_and_what_was_stays(tmp_path: Path) -> None:
    server = embedded_postgres(folder=tmp_path / "server", port=free_port())
    process = start(server)
    try:
        migrate(server.url)
        make_tables(server.url)
        with (
            serving(settings_for(home=tmp_path / "home", postgres_url=server.url)) as front,
            front.client() as client,
        ):
            front.runs.pause()
            job = client.post(f"{INGEST}/github.com/example/one").json()["job_id"]
            stop(server, process)
            for ask in (
                lambda: client.post(f"{INGEST}/github.com/example/two"),
                lambda: client.get("/api/v1/ingestion/worker/status"),
                lambda: client.get("/api/v1/ingestion/jobs/history"),
                lambda: client.get("/api/v1/repositories"),
            ):
                answer = ask()
                assert (answer.status_code, "postgresql" in answer.json()["detail"]) == (503, True)
                assert int(answer.headers["Retry-After"]) >= 1
            process = start(server)
            wait_until(lambda: client.get("/health/ready").status_code == 200, seconds=30, what="recovery")
            again = client.post(f"{INGEST}/github.com/example/one").json()
            assert (again["job_id"], again["queue_size"]) == (job, 1)
    finally:
        stop(server, process)
