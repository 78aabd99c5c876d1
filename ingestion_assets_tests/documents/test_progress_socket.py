"""The WebSocket of jobs: no message is missed or told twice however often a client goes away, and nobody hears of others."""

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ingestion_assets_tests.documents.job_front import (
    OVER,
    PATIENCE_S,
    USER,
    JobsFront,
    jobs_front,
    text_files,
)
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN

LONG = bool(os.environ.get("INGESTION_LONG_TESTS"))
CLIENTS, SLOW_S = (200, 0.05) if LONG else (8, 0.01)
KEY = {"X-API-Key": ADMIN_TOKEN}


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    with jobs_front(postgres_url, root, home, stack={"max_streams": 4 * CLIENTS + 40}) as running:
        yield running


def followed(front: JobsFront, job: str, seed: int) -> list[int]:
    """The numbers that a client is told which leaves at random and comes again, until the job is over."""
    rng, seen, after = random.Random(seed), [], None
    while True:
        url = front.socket_url if after is None else f"{front.socket_url}?after={after}"
        with connect(url, additional_headers=KEY, open_timeout=60) as socket:
            said = json.loads(socket.recv(timeout=PATIENCE_S))
            assert said["type"] == "connection_established"
            assert said["resumed"] == (after is not None)
            after = said["sequence"]
            present = said["sequence"]
            for _ in range(rng.choice([1, 3, 10, 1000])):
                said = json.loads(socket.recv(timeout=PATIENCE_S))
                if said["sequence"] > present:
                    seen.append(said["sequence"])
                    after = said["sequence"]
                if said.get("job", {}).get("job_id") == job and said["job"]["status"] in OVER:
                    return seen


def test_clients_that_come_and_go_miss_nothing_and_hear_nothing_twice(front: JobsFront) -> None:
    job = front.create(front.connect(text_files(front.root / "followed", 10)))
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(followed, front, job, seed) for seed in range(CLIENTS)]
        front.control(job, "start")
        front.over(job)
        for client in clients:
            seen = client.result()
            assert seen == list(range(seen[0], seen[0] + len(seen)))


def test_a_ping_is_answered_and_anything_else_ends_the_conversation(front: JobsFront) -> None:
    with connect(front.socket_url, additional_headers=KEY) as socket:
        json.loads(socket.recv(timeout=PATIENCE_S))
        socket.send(json.dumps({"type": "ping", "timestamp": "2026-01-31T10:35:00Z"}))
        answers = [json.loads(socket.recv(timeout=PATIENCE_S))]
        while answers[-1]["type"] != "pong":
            answers.append(json.loads(socket.recv(timeout=PATIENCE_S)))
        assert answers[-1] == {"type": "pong", "timestamp": "2026-01-31T10:35:00Z"}
    for wrong in ("no JSON", '{"type": "shout"}', "[]", "x" * 5000):
        with connect(front.socket_url, additional_headers=KEY) as socket:
            socket.send(wrong)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    socket.recv(timeout=60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008


def test_only_the_users_own_jobs_are_told_of(front: JobsFront) -> None:
    job = front.create(front.connect(text_files(front.root / "own", 1)))
    for url, headers, status in (
        (front.socket_url, {}, 401),
        (front.socket_url, {"X-API-Key": "wrong"}, 401),
        (front.socket_url.replace(USER, "another") + f"?job_id={job}", KEY, 404),
    ):
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    ticket = front.client.post("/batch/ws-tickets").json()["ticket"]
    with connect(f"{front.socket_url}?ticket={ticket}&job_id={job}") as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["job_id"] == job
        assert json.loads(socket.recv(timeout=PATIENCE_S))["job"]["job_id"] == job
