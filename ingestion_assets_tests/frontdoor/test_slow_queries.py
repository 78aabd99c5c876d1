"""PostgreSQL answers, but some queries stand on a lock: keys are looked up all the same, and no query outlasts who asked for it."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import sqlalchemy as sa

from ingestion_assets.frontdoor import door
from ingestion_assets.frontdoor.keys import revoke_key
from ingestion_assets.frontdoor.tokens import digest
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
BODY = {"messages": [{"type": "user"}]}
LATER = {"Prefer": "respond-async"}


@contextmanager
def locked(front: Front, table: str) -> Iterator[sa.Connection]:
    with front.engine.connect() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield connection


def send(client: httpx.Client) -> httpx.Response:
    return client.post(BATCH, json=BODY, headers=LATER)


def test_slow_queries_hold_up_no_keys(front: Front) -> None:
    """A new key is taken and a revoked one is not while every thread that answers from the ledger waits for a lock."""
    reader, known = front.key("read"), front.key("conversations")

    def slow() -> int:
        with front.client(reader) as client:
            return client.get("/api/v1/rejects").status_code

    with front.client(known) as client, ThreadPoolExecutor(4) as readers:
        assert send(client).status_code == 202
        with locked(front, "ingestion.rejects"):
            answers = [readers.submit(slow) for _ in range(4)]
            wait_until(lambda: _waiting_for_locks(front) == 4, seconds=5, what="the readers to wait")
            with front.client(front.key("conversations")) as new:
                assert send(new).status_code == 202
            _revoke(front, known)
            revoked = time.monotonic()
            wait_until(lambda: send(client).status_code == 401, seconds=8, what="the revocation")
            assert time.monotonic() - revoked < 4
            assert not any(answer.done() for answer in answers), "they were slow all the time"


def test_what_is_asked_of_the_ledger_ends_before_the_wait_for_it(front: Front) -> None:
    def limit(connection: sa.Connection) -> str:
        return connection.execute(sa.text("SHOW statement_timeout")).scalar_one()

    assert asyncio.run(front.app.door.in_thread(limit)) == f"{door.STATEMENT_S:.0f}s"
    assert door.STATEMENT_S < door.LEDGER_S
    assert asyncio.run(front.app.door.in_thread(limit, goes_on=True)) == "0"
    with front.engine.connect() as connection:
        assert limit(connection) == "0", "workers and commands have the same pool"


def test_keys_that_cannot_be_looked_up_are_good_for_seconds(front: Front) -> None:
    """The ledger is there, so any of them may have been revoked."""
    known, unseen = front.key("conversations"), front.key("conversations")
    with front.client(known) as client, front.client(unseen) as other:
        assert send(client).status_code == 202
        with locked(front, "ingestion.api_keys"):
            answer = send(other)
            assert (answer.status_code, answer.json()["dependency"]) == (503, "postgresql")
            assert "does not answer in time and this API key is new here" in answer.json()["detail"]
            assert send(client).status_code == 202
            wait_until(lambda: send(client).status_code == 503, seconds=10, what="the key to be too old")
            assert "does not answer in time" in send(client).json()["detail"]
        wait_until(lambda: send(client).status_code == 202, seconds=5, what="the key to be looked up")


def test_many_keys_that_wait_for_each_other_are_no_ledger_that_is_away(front: Front) -> None:
    number = 30
    known = [front.key("conversations") for _ in range(number)]

    def status(key: str) -> int:
        with front.client(key) as client:
            return send(client).status_code

    with ThreadPoolExecutor(number) as clients:
        assert set(clients.map(status, known)) == {202}
        with locked(front, "ingestion.api_keys"):
            wait_until(
                lambda: set(clients.map(status, known)) == {503}, seconds=15, what="all keys to be too old"
            )
            for _ in range(3):
                assert set(clients.map(status, known)) == {503}


def _waiting_for_locks(front: Front) -> int:
    with front.engine.connect() as connection:
        return connection.scalar(
            sa.text("""
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
            """)
        )


def _revoke(front: Front, token: str) -> None:
    with front.engine.begin() as connection:
        id_ = connection.scalar(
            sa.text("SELECT id::text FROM ingestion.api_keys WHERE token_sha256 = :hash"),
            {"hash": digest(token)},
        )
        assert revoke_key(connection, name_or_id=id_) is not None
