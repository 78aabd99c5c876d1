"""Lanes rest between runs while nobody waits; whoever waits for an outcome, or asks after it, does not wait for that."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.landing import dispatch
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.servers import wait_until

PATH = "/api/v1/ingest/batch"
LONG_S = 120


@pytest.fixture
def front(fresh_postgres_url: str, tmp_path: Path) -> Iterator[Front]:
    """A front door whose lanes rest for longer than any test takes."""
    with serving(settings_for(home=tmp_path, postgres_url=fresh_postgres_url, lane_rest_s=LONG_S)) as running:
        yield running


def _post(client: httpx.Client, prefer: str) -> httpx.Response:
    line = {"type": "user", "uuid": str(uuid.uuid4()), "sessionId": "s", "message": {"content": "hello"}}
    return client.post(PATH, json={"messages": [line]}, headers={"Prefer": prefer})


def _states(front: Front) -> list[str]:
    with front.engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT state FROM ingestion.drops ORDER BY id")))


def _async(front: Front, client: httpx.Client, number: int = 1) -> list[dict[str, Any]]:
    """Payloads that nobody waits for, with their rows."""
    before = len(_states(front))
    receipts = [_post(client, "respond-async").json() for _ in range(number)]
    wait_until(lambda: len(_states(front)) == before + number, seconds=10, what="the rows")
    return receipts


def _one_run(front: Front, client: httpx.Client) -> None:
    """After which the lane rests."""
    _async(front, client)
    wait_until(lambda: _states(front) == ["done"], seconds=10, what="the first run, which comes at once")


def test_what_nobody_waits_for_gathers_and_a_client_that_waits_is_answered_at_once(front: Front) -> None:
    with front.client() as client:
        _one_run(front, client)
        _async(front, client, 2)
        assert _states(front) == ["done", "landed", "landed"]
        answer = _post(client, "wait=10")
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 5
    assert _states(front) == ["done"] * 4
    assert len(front.runs.launched) == 2


def test_every_client_that_waits_has_its_run_at_once(front: Front) -> None:
    with front.client() as client:
        answers = [_post(client, "wait=10") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert max(answer.elapsed.total_seconds() for answer in answers) < 5


@pytest.mark.parametrize("prefer", [None, "wait=10"])
def test_who_asks_after_a_receipt_ends_the_rest(front: Front, prefer: str | None) -> None:
    with front.client() as client:
        _one_run(front, client)
        (receipt,) = _async(front, client)
        headers = {"Prefer": prefer} if prefer else {}
        client.get(f"/api/v1/receipts/{receipt['id']}", headers=headers).raise_for_status()
    wait_until(lambda: _states(front) == ["done"] * 2, seconds=5, what="the run")


def test_a_repeated_request_waits_for_the_first_without_a_rest(front: Front) -> None:
    with front.client() as client:
        _one_run(front, client)
        key = {"Idempotency-Key": "once"}
        line = {
            "messages": [{"type": "user", "uuid": "u", "sessionId": "s", "message": {"content": "hello"}}]
        }

        client.post(PATH, json=line, headers={"Prefer": "respond-async", **key}).raise_for_status()
        assert _states(front) == ["done", "landed"]
        again = client.post(PATH, json=line, headers={"Prefer": "wait=10", **key})
    assert again.status_code == 200
    assert again.elapsed.total_seconds() < 5


def test_a_lane_with_much_in_it_does_not_rest(front: Front) -> None:
    with front.client() as client:
        _one_run(front, client)
        _async(front, client, dispatch.GATHERED_DROPS)
    wait_until(lambda: set(_states(front)[:50]) == {"done"}, seconds=10, what="the run")


def test_a_rest_ends_by_itself(fresh_postgres_url: str, tmp_path: Path) -> None:
    settings = settings_for(home=tmp_path, postgres_url=fresh_postgres_url, lane_rest_s=2)
    with serving(settings) as front, front.client() as client:
        _one_run(front, client)
        _async(front, client)
        assert _states(front)[1] == "landed"
        wait_until(lambda: _states(front) == ["done"] * 2, seconds=10, what="the next run")
