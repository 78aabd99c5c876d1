"""A stream's end waits for parts that were accepted while the ledger was down, which it hears of late."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uuid_utils

from ingestion_assets.entities.flow import NAME
from ingestion_assets.entities.work import EntitiesWork
from ingestion_assets.landing import claims, finishing, leases
from ingestion_assets.landing.claims import ClaimLostError
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import day_of_arrival
from ingestion_assets.landing.leases import LaneBusyError
from ingestion_assets.landing.storage import minute_folder, open_storage
from ingestion_assets_tests.entities.conftest import rows
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for

PARTS = (
    "O|1|7|O|123.45|1996-01-02|5-LOW|Clerk|0|refers to what comes next\n",
    "C|7|name|street|3|12-345|7.10|BUILDING|ok\n",
    "O|2|7|O|123.45|1996-01-02|5-LOW|Clerk|0|refers to what came before\n",
)


@pytest.fixture
def front(fresh_postgres_url: str, tmp_path: Path) -> Iterator[Front]:
    """A front door that cannot start runs: what lands waits."""
    with serving(settings_for(home=tmp_path, postgres_url=fresh_postgres_url)) as running:
        running.runs.pause()
        yield running


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    """A client that does not wait for what becomes of its messages."""
    with front.client() as client:
        client.headers.update({"Content-Type": "text/plain", "Prefer": "respond-async"})
        yield client


def test_the_end_of_a_stream_waits_for_a_part_without_a_row(
    front: Front, client: httpx.Client, database: "psycopg.Connection[Any]"
) -> None:
    for number, part in enumerate(PARTS):
        answer = client.post("/ingest/stream", params={"stream": "s", "more": number < 2}, content=part)
        assert answer.status_code == 202, answer.text
    database.execute("DELETE FROM ingestion.drops WHERE attributes ->> 'first_line' = '1'")
    claim, work = _run(front)
    assert len(claim.drops) == 2
    with pytest.raises(LaneBusyError):
        work.outcomes()
    _give_back(front, claim)
    claim, work = _run(front)
    assert [outcome.result["failed"] for outcome in work.outcomes()] == [0, 0, 0]
    assert [row[0] for row in rows(database, TPCH, "Order")] == [1, 2]


def test_a_stream_goes_on_behind_a_part_without_a_row(
    front: Front, client: httpx.Client, database: "psycopg.Connection[Any]"
) -> None:
    for part in PARTS[:2]:
        assert client.post("/ingest/stream", params={"stream": "s", "more": True}, content=part).is_success
    database.execute("DELETE FROM ingestion.drops WHERE attributes ->> 'first_line' = '2'")
    unreadable = front.settings.home / "landing" / minute_folder(datetime.now(UTC)) / "a.seg"
    unreadable.parent.mkdir(parents=True, exist_ok=True)
    unreadable.symlink_to("/proc/self/mem")
    refused = client.get("/ingest/stream/s")
    unreadable.unlink()
    position = client.get("/ingest/stream/s").json()
    assert (refused.status_code, refused.json()["dependency"]) == (503, "landing"), "a part may lie there"
    assert position["lines"] == 2
    assert position["bytes"] == len("".join(PARTS[:2]))


def test_a_worker_that_was_stalled_until_others_took_its_payload_writes_nothing(
    front: Front, client: httpx.Client, database: "psycopg.Connection[Any]"
) -> None:
    landed = client.post("/ingest/batch", content=PARTS[1])
    assert landed.status_code == 202
    state = client.get(landed.headers["location"]).json()["state"]
    assert state == "landed", "its row is there"
    _, stalled = _run(front)
    _give_back(front, stalled.claim)
    claim, work = _run(front)
    with front.engine.begin() as connection:
        finishing.finish(connection, claim, work.outcomes())
    database.execute("UPDATE entities.customers SET name = 'newer'")
    with pytest.raises(ClaimLostError):
        stalled.outcomes()
    assert rows(database, TPCH, "Customer")[0][1] == "newer"
    assert database.execute("SELECT processed FROM entities._tally").fetchall() == [(1,)]


def _give_back(front: Front, claim: claims.Claim) -> None:
    with front.engine.begin() as connection:
        finishing.give_back(connection, claim.claim_id, error={}, transient=True, delay_s=0.0, max_attempts=4)
        leases.release(connection, claim.run_id)


def _run(front: Front) -> tuple[claims.Claim, EntitiesWork]:
    """A run's claim of all that landed, and its work."""
    day, run_id = day_of_arrival(datetime.now(UTC), None), str(uuid_utils.uuid7())
    with front.engine.begin() as connection:
        claim = claims.claim_landed(
            connection, Lane(NAME, day, day), claim_id=run_id, run_id=run_id, dispatch_id=None, max_bytes=2**28,
            lease_s=30,
        )  # fmt: skip
    work = EntitiesWork(
        claim=claim, storage=open_storage(front.settings), engine=front.engine, entities=lambda: TPCH, max_bytes=2**28,
        is_transient=lambda error: isinstance(error, LaneBusyError),
    )  # fmt: skip
    return claim, work
