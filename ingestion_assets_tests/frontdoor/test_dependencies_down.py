"""PostgreSQL, MongoDB or landing storage is away: what can be accepted is, what cannot be answered says who is missing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.stores.embedded import EmbeddedServer, embedded_postgres, free_port
from ingestion_assets.stores.postgres import engine, migrate
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.servers import start, stop, wait_until

BATCH = "/api/v1/ingest/batch"
BODY = {"messages": [{"type": "user"}]}
LATER = {"Prefer": "respond-async"}


@contextmanager
def stopped(server: EmbeddedServer, processes: list) -> Iterator[None]:
    stop(server, processes.pop())
    try:
        yield
    finally:
        processes.append(start(server))


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServer, list]]:
    server = embedded_postgres(folder=tmp_path_factory.mktemp("postgres") / "server", port=free_port())
    processes = [start(server)]
    migrate(server.url)
    yield server, processes
    stop(server, processes.pop())


def test_postgresql_goes_away_and_comes_back(
    own_postgres: tuple[EmbeddedServer, list], tmp_path: Path
) -> None:
    server, processes = own_postgres
    with serving(settings_for(home=tmp_path, postgres_url=server.url)) as front:
        known, unseen = front.key("conversations"), front.key("conversations")
        with front.client(known) as client:
            assert client.post(BATCH, json=BODY).status_code == 200
            wait_until(lambda: client.get("/health/ready").status_code == 200, seconds=5, what="readiness")
            with stopped(server, processes):
                landed = _lands_without_ledger(client)
                _says_who_is_missing(front, client, unseen, landed)
            wait_until(lambda: client.post(BATCH, json=BODY).status_code == 200, seconds=15, what="recovery")
        with front.client(unseen) as client:
            wait_until(lambda: client.get("/api/v1/receipts").status_code == 200, seconds=5, what="a new key")


def _lands_without_ledger(client: httpx.Client) -> str:
    answer = client.post(BATCH, json=BODY)
    assert (answer.status_code, answer.json()["registered"]) == (202, False)
    slowest = 0.0
    for _ in range(20):
        started = time.perf_counter()
        assert client.post(BATCH, json=BODY, headers={"Prefer": "respond-async"}).status_code == 202
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 2
    return answer.headers["location"]


def _says_who_is_missing(front: Front, client: httpx.Client, unseen: str, landed: str) -> None:
    for path in (landed, f"{landed}/records", "/api/v1/receipts"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "postgresql" in answer.json()["detail"]
        assert answer.headers["retry-after"]
    with front.client(unseen) as other:
        answer = other.get("/api/v1/receipts")
        assert (answer.status_code, answer.json()["dependency"]) == (503, "postgresql")
    with front.client("wrong") as stranger:
        assert stranger.get("/api/v1/receipts").status_code == 401
    wait_until(
        lambda: client.get("/health").json()["database"] == "disconnected", seconds=5, what="health to see it"
    )
    assert client.get("/health").json()["status"] == "degraded"
    assert client.get("/health/ready").status_code == 200


def test_mongodb_that_is_away_is_named(postgres_url: str, tmp_path: Path) -> None:
    settings = settings_for(
        home=tmp_path,
        postgres_url=postgres_url,
        mongodb_url=f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=500",
    )
    with serving(settings) as front, front.client() as client:
        assert client.post(BATCH, json=BODY).status_code == 200
        answer = client.get("/api/v1/ingest/status")
        assert (answer.status_code, answer.json()["dependency"]) == (503, "mongodb")
        assert answer.headers["retry-after"]


def test_status_of_the_flow(
    postgres_url: str, mongodb_url: str, mongodb_database: str, tmp_path: Path
) -> None:
    settings = settings_for(
        home=tmp_path, postgres_url=postgres_url, mongodb_url=mongodb_url, mongodb_database=mongodb_database
    )
    with serving(settings) as front, front.client() as client:
        answer = client.get("/api/v1/ingest/status")
        assert answer.status_code == 200
        assert answer.json()["statistics"] == {"total_messages": 0, "total_sessions": 0, "total_projects": 0}
        assert answer.json()["recent_ingestions"] == []


def test_landing_storage_that_cannot_be_written_is_503(postgres_url: str, tmp_path: Path) -> None:
    with serving(settings_for(home=tmp_path, postgres_url=postgres_url)) as front, front.client() as client:
        assert client.post(BATCH, json=BODY).status_code == 200
        landing = tmp_path / "landing"
        moved = tmp_path / "moved"
        landing.rename(moved)
        landing.symlink_to("/proc/nowhere")
        answer = client.post(BATCH, json=BODY)
        landing.unlink()
        moved.rename(landing)
        assert (answer.status_code, answer.json()["dependency"]) == (503, "landing")
        assert answer.headers["retry-after"]
        assert client.post(BATCH, json=BODY).status_code == 200


def test_a_front_door_whose_segments_have_no_place_is_not_ready(postgres_url: str, tmp_path: Path) -> None:
    """The landing storage itself is there and its own; only what payloads land in is not."""
    with serving(settings_for(home=tmp_path, postgres_url=postgres_url)) as front, front.client() as client:
        assert client.post(BATCH, json=BODY).status_code == 200
        wait_until(lambda: client.get("/health/ready").status_code == 200, seconds=5, what="readiness")
        segments, moved = tmp_path / "landing" / "segments", tmp_path / "landing" / "moved"
        segments.rename(moved)
        segments.write_text("in the way")
        wait_until(
            lambda: client.get("/health/ready").status_code == 503, seconds=15, what="it to be noticed"
        )
        assert client.get("/health/ready").json()["reasons"] == ["landing storage cannot be written"]
        assert client.get("/health").json()["dependencies"]["landing"]["status"] == "down"
        segments.unlink()
        moved.rename(segments)
        wait_until(lambda: client.get("/health/ready").status_code == 200, seconds=5, what="readiness again")


def test_too_old_a_backlog_turns_payloads_away(postgres_url: str, tmp_path: Path) -> None:
    settings = settings_for(home=tmp_path, postgres_url=postgres_url, backlog_limit_s=3)
    with serving(settings) as front, front.client() as client:
        front.runs.pause()
        assert client.post(BATCH, json=BODY, headers=LATER).status_code == 202
        wait_until(
            lambda: client.post(BATCH, json=BODY, headers=LATER).status_code == 503,
            seconds=8, what="the backlog to be too old",
        )  # fmt: skip
        answer = client.post(BATCH, json=BODY)
        assert int(answer.headers["retry-after"]) >= 1
        assert "conversations has been waiting" in answer.json()["detail"]
        line = {"content": b"region|1|EUROPE|far away", "headers": {"Content-Type": "text/plain"} | LATER}
        assert client.post("/ingest/message", **line).status_code == 202, "other flows go on"
        with engine(postgres_url).begin() as connection:  # as a redrive and a confirmation do
            connection.execute(
                sa.text("UPDATE ingestion.drops SET queued_at = clock_timestamp() WHERE state = 'landed'")
            )
        wait_until(
            lambda: client.post(BATCH, json=BODY, headers=LATER).status_code == 202, seconds=8, what="the door to be open again",
        )  # fmt: skip


def test_a_backlog_that_would_take_too_long_turns_payloads_away(
    fresh_postgres_url: str, tmp_path: Path
) -> None:
    """Long before one of its payloads is too old; a burst that one run takes does not."""
    settings = settings_for(home=tmp_path, postgres_url=fresh_postgres_url, backlog_limit_s=60)
    with serving(settings) as front, front.client() as client:
        front.runs.pause()
        with engine(fresh_postgres_url).begin() as connection:
            backlog(connection, number=4_000, run="gone", claimed_s=90, finished_s=50)  # a hundred a second
            backlog(connection, number=5_000)
        wait_until(
            lambda: "ingestion_expected_wait_seconds" in client.get("/metrics").text, seconds=8, what="the ledger to be read"
        )  # fmt: skip
        assert client.post(BATCH, json=BODY, headers=LATER).status_code == 202
        with engine(fresh_postgres_url).begin() as connection:
            backlog(connection, number=3_000)
        wait_until(
            lambda: client.post(BATCH, json=BODY, headers=LATER).status_code == 503, seconds=8, what="the backlog to be too long"
        )  # fmt: skip
        answer = client.post(BATCH, json=BODY)
        wait = "A payload of conversations would wait for some "
        assert answer.json()["detail"].startswith((f"{wait}7", f"{wait}80"))  # 8,000 payloads at 100 a second
        assert int(answer.headers["retry-after"]) >= 5
        line = {"content": b"region|1|EUROPE|far away", "headers": {"Content-Type": "text/plain"} | LATER}
        assert client.post("/ingest/message", **line).status_code == 202, "other flows go on"


def test_what_a_run_works_on_does_not_wait(
    fresh_postgres_url: str, mongodb_url: str, mongodb_database: str, tmp_path: Path
) -> None:
    """Two hours at one payload, and another that waits for as long, close and degrade nothing but the flow of the latter."""
    settings = settings_for(
        home=tmp_path,
        postgres_url=fresh_postgres_url,
        mongodb_url=mongodb_url,
        mongodb_database=mongodb_database,
    )
    line = {"content": b"region|1|EUROPE|far away", "headers": {"Content-Type": "text/plain"} | LATER}
    with serving(settings) as front, front.client() as client:
        front.runs.pause()
        with engine(fresh_postgres_url).begin() as connection:
            backlog(connection, number=2)
            hours = "received_at = now() - interval '2 h'"
            connection.execute(sa.text(f"UPDATE ingestion.drops SET {hours}"))
            at_work = "state = 'claimed', claim = 'run', claimed_at = received_at"
            connection.execute(sa.text(f"UPDATE ingestion.drops SET {at_work}"))
            backlog(connection, number=3)  # wait for half a minute already
        wait_until(
            lambda: client.get("/health").json()["backlog"]["claimed"] == 2, seconds=8, what="the ledger to be read"
        )  # fmt: skip
        found = client.get("/health").json()["backlog"]
        assert (found["overdue"], found["landed"]) == ([], 3)
        assert 30 <= found["oldest_unprocessed_s"] < 60
        assert client.get("/api/v1/ingest/status").json()["status"] == "operational"
        assert client.post(BATCH, json=BODY, headers=LATER).status_code == 202
        with engine(fresh_postgres_url).begin() as connection:
            waiting = "flow = 'entities', state = 'landed', claim = NULL, claimed_at = NULL"
            connection.execute(sa.text(f"UPDATE ingestion.drops SET {waiting} WHERE state = 'claimed'"))
        wait_until(
            lambda: client.post("/ingest/message", **line).status_code == 503, seconds=8, what="entities to be refused"
        )  # fmt: skip
        assert client.get("/health").json()["backlog"]["overdue"] == ["entities"]
        assert client.get("/health").json()["status"] == "degraded"
        status = client.get("/api/v1/ingest/status").json()
        assert status["status"] == "operational"
        assert status["backlog"]["oldest_unprocessed_s"] < 60
        assert client.post(BATCH, json=BODY, headers=LATER).status_code == 202


def test_the_scope_of_a_site_is_of_the_flow_of_modules(fresh_postgres_url: str, tmp_path: Path) -> None:
    settings = settings_for(home=tmp_path, postgres_url=fresh_postgres_url, backlog_limit_s=3600)
    with serving(settings) as front, front.client() as client:
        front.runs.pause()
        answer = client.post("/api/v1/sites", json={"name": "A site", "url": "https://site.example.com"})
        site = answer.json()["id"]
        with engine(fresh_postgres_url).begin() as connection:
            backlog(connection, number=1)
            hours = "flow = 'modules', received_at = now() - interval '2 h'"
            connection.execute(sa.text(f"UPDATE ingestion.drops SET {hours}"))
        wait_until(
            lambda: client.post(f"/api/v1/sites/{site}/modules/sync", json={}, headers=LATER).status_code == 503, seconds=8,
            what="the site to be refused",
        )  # fmt: skip


def backlog(
    connection: sa.Connection, *, number: int, run: str | None = None, claimed_s: int = 0, finished_s: int = 0
) -> None:
    """Payloads of a kilobyte, half a minute old: waiting, or done by a run that began and ended so many seconds ago."""
    connection.execute(
        sa.text("""
            INSERT INTO ingestion.drops (id, flow, partition, lane, principal, body_sha256, size_bytes, records, segment,
                "offset", length, state, received_at, claim, claimed_at, finished_at)
            SELECT uuidv7(), 'conversations', 'then', 'then', 'test', sha256(n::text::bytea), 1000, 1, 'segments/none', 0, 100,
                CASE WHEN CAST(:run AS text) IS NULL THEN 'landed' ELSE 'done' END, now() - interval '30 s', :run,
                CASE WHEN :run IS NOT NULL THEN now() - make_interval(secs => :claimed_s) END,
                CASE WHEN :run IS NOT NULL THEN now() - make_interval(secs => :finished_s) END
            FROM generate_series(1, :number) n
        """),
        {"number": number, "run": run, "claimed_s": claimed_s, "finished_s": finished_s},
    )
