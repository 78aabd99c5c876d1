"""The WebSocket of jobs: no message is missed or told twice however often a client goes away, and nobody hears of others."""

import json
import os
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from socket import SHUT_RDWR

import pytest
import sqlalchemy as sa
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ingestion_assets.documents.web.progress_socket import NEWEST
from ingestion_assets_tests.documents.job_front import (
    OVER,
    PATIENCE_S,
    USER,
    JobsFront,
    jobs_front,
    text_files,
)
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN
from ingestion_assets_tests.servers import wait_until

LONG = bool(os.environ.get("INGESTION_LONG_TESTS"))
CLIENTS, FILES, SLOW_S = (200, 20, 0.05) if LONG else (30, 10, 0.01)
STAYS = (1, 10, 30, 1000)
"""After how many messages a client leaves."""
KEY = {"X-API-Key": ADMIN_TOKEN}


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    with jobs_front(postgres_url, root, home, stack={"max_streams": 4 * CLIENTS + 40}) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Client:
    """One that goes away at random and comes again until the job is over: it says goodbye, or vanishes; it may be slow."""

    front: JobsFront
    job: str
    seed: int

    def follow(self) -> list[int]:
        """The numbers that it is told."""
        rng, seen, after = random.Random(self.seed), list[int](), None
        while True:
            url = self.front.socket_url if after is None else f"{self.front.socket_url}?after={after}"
            with connect(url, additional_headers=KEY, open_timeout=PATIENCE_S) as socket:
                said = json.loads(socket.recv(timeout=PATIENCE_S))
                assert said["type"] == "connection_established"
                assert said["resumed"] == (after is not None)
                after = present = said["sequence"]
                for _ in range(rng.choice(STAYS)):
                    said = json.loads(socket.recv(timeout=PATIENCE_S))
                    if said["sequence"] > present:
                        seen.append(said["sequence"])
                        after = said["sequence"]
                    if said.get("job", {}).get("job_id") == self.job and said["job"]["status"] in OVER:
                        return seen
                    if self.seed % 3 == 0:
                        time.sleep(rng.uniform(0, 2 * SLOW_S))  # how slow it is, not a wait
                if self.seed % 2 == 0:
                    socket.socket.shutdown(SHUT_RDWR)


def test_clients_that_come_and_go_miss_nothing_and_hear_nothing_twice(front: JobsFront) -> None:
    job = front.create(front.connect(text_files(front.root / "followed", FILES)))
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(Client(front, job, seed).follow) for seed in range(CLIENTS)]
        front.control(job, "start")
        front.over(job)
        told = [
            number
            for (number,) in front.rows(
                "SELECT sequence FROM documents.events WHERE job_id = :job ORDER BY 1", job=job
            )
        ]
        for client in clients:
            seen = client.result()
            assert seen == told[told.index(seen[0]) :]
    open_streams = re.compile(r"^ingestion_open_streams 0\.0$", re.MULTILINE)
    wait_until(
        lambda: open_streams.search(front.client.get("/metrics").text),
        seconds=60,
        what="all of them to be gone",
    )


def test_a_client_that_takes_nothing_holds_up_nobody(front: JobsFront) -> None:
    with connect(front.socket_url, additional_headers=KEY, max_queue=1) as stuck:
        job = front.create(front.connect(text_files(front.root / "stuck", FILES)))
        assert front.control(job, "start").status_code == 200
        assert Client(front, job, 1).follow()
        seen = [json.loads(stuck.recv(timeout=PATIENCE_S))["sequence"]]
        newest = front.rows("SELECT max(sequence) FROM documents.events WHERE user_id = :user", user=USER)[0][
            0
        ]
        while seen[-1] < newest:
            seen.append(json.loads(stuck.recv(timeout=PATIENCE_S))["sequence"])
    told = [number for number in seen if number > seen[0]]
    assert told == list(range(seen[0] + 1, newest + 1))


def test_a_ping_is_answered_and_anything_else_ends_the_conversation(front: JobsFront) -> None:
    with connect(front.socket_url, additional_headers=KEY) as socket:
        json.loads(socket.recv(timeout=PATIENCE_S))
        socket.send(json.dumps({"type": "ping", "timestamp": "2026-01-31T10:35:00Z"}))
        answers = [json.loads(socket.recv(timeout=PATIENCE_S))]
        while answers[-1]["type"] != "pong":
            answers.append(json.loads(socket.recv(timeout=PATIENCE_S)))
        assert answers[-1] == {"type": "pong", "timestamp": "2026-01-31T10:35:00Z"}
    for wrong in ("no JSON", '{"type": "shout"}', "[]", b"\xff\xfe", "[" * 4000, "x" * 5000):
        assert closed_for(front, wrong) == 1008
    # What is beyond the server's limit is not read to its end: where the connection breaks for it, the close is lost.
    assert closed_for(front, "x" * 2**21) in (1009, None)


@pytest.mark.parametrize("query", ["job_id=%00", "job_id=job_1", "after=x", "after=-1"])
def test_what_is_wrong_with_a_handshake_is_said(front: JobsFront, query: str) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{front.socket_url}?{query}", additional_headers=KEY),
    ):
        pass
    answer = refused.value.response
    assert answer.status_code == 422
    assert json.loads(answer.body or b"")["errors"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_job_that_goes_on_is_told_of_however_many_were_created_since(front: JobsFront) -> None:
    first = front.create(front.connect(text_files(front.root / "first", 1), user="patient"), user="patient")
    with front.engine.begin() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO documents.jobs (id, user_id, name, priority, selections, options, model, principal, total_files, status, ended_at)
                SELECT 'job_f' || lpad(to_hex(number), 31, '0'), user_id, name, priority, selections, options, model, principal,
                       total_files, 'cancelled', clock_timestamp() FROM documents.jobs, generate_series(1, :many) number WHERE id = :first
            """),
            {"first": first, "many": NEWEST + 1},
        )
    with connect(front.socket_url.replace(USER, "patient"), additional_headers=KEY) as socket:
        json.loads(socket.recv(timeout=PATIENCE_S))
        told = [json.loads(socket.recv(timeout=PATIENCE_S))["job"]["job_id"] for _ in range(NEWEST + 1)]
    assert told[0] == first
    assert len(set(told)) == NEWEST + 1


def closed_for(front: JobsFront, said: str | bytes) -> int | None:
    """The code that a client is sent which says this."""
    with connect(front.socket_url, additional_headers=KEY) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.send(said)
            while True:
                socket.recv(timeout=PATIENCE_S)
        return None if closed.value.rcvd is None else closed.value.rcvd.code


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
