"""Payloads over HTTP, from request to answer, with a ledger and runs behind."""

import asyncio
import gzip
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
import uuid_utils.compat
import zstandard
from sqlalchemy.exc import OperationalError

from ingestion_assets.frontdoor.admission import FRESH_S
from ingestion_assets.frontdoor.receipt_lookup import ReceiptLookup
from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import segment_path
from ingestion_assets.stores.postgres import async_engine, engine
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.frontdoor.instant_runs import failed, first_rejected, stored
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
ASYNC = {"Prefer": "respond-async"}


def batch(count: int = 2) -> dict[str, object]:
    return {"messages": [{"type": "user", "uuid": str(uuid.uuid4())} for _ in range(count)]}


def test_waits_for_the_result(client: httpx.Client) -> None:
    answer = client.post(BATCH, json=batch())
    assert answer.status_code == 200
    assert answer.json()["stats"]["messages_processed"] == 2
    receipt = client.get(f"/api/v1/receipts/{answer.headers['x-receipt-id']}").json()
    assert receipt["state"] == "done"
    assert receipt["result"] == answer.json()
    assert receipt["run_url"].endswith(f"/runs/{receipt['run_id']}")


def test_respond_async_gives_the_receipt_at_once(client: httpx.Client) -> None:
    answer = client.post(BATCH, json=batch(), headers=ASYNC)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/api/v1/receipts/{answer.json()['id']}"
    done = client.get(answer.headers["location"], headers={"Prefer": "wait=10"})
    assert done.json()["state"] == "done"
    assert done.headers["preference-applied"] == "wait=10"


def test_a_receipt_can_be_read_before_its_row_is_there(front: Front, client: httpx.Client) -> None:
    with front.engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE ingestion.drops IN SHARE ROW EXCLUSIVE MODE"))  # readers may
        answer = client.post(BATCH, json=batch(), headers=ASYNC)
        assert (answer.status_code, answer.json()["registered"]) == (202, False)
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(client.get, answer.headers["location"])
            time.sleep(0.3)
            assert not reading.done()
            connection.commit()
            assert reading.result().status_code == 200


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(minutes=10)], ids=["now", "before an outage"])
def test_a_receipt_of_a_front_door_that_was_killed_can_be_read(
    front: Front, client: httpx.Client, ago: timedelta
) -> None:
    """Durable, given out, and no row yet; nor has anybody looked for it since."""
    now = datetime.now(UTC) - ago
    with front.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.landing_watermark SET minute = :now"), {"now": now})
    drop_id = _written(front, now)
    answer = client.get(f"/api/v1/receipts/{drop_id}")
    assert (answer.status_code, answer.json()["id"]) == (200, str(drop_id))


def test_receipts_without_rows_that_are_asked_for_at_once_are_all_found(
    front: Front, client: httpx.Client
) -> None:
    receipts = [
        _written(front, datetime.now(UTC) - timedelta(days=days)) for days in (10, 20, 30, 40, 50, 60)
    ]
    with ThreadPoolExecutor(6) as threads:
        answers = threads.map(lambda one: client.get(f"/api/v1/receipts/{one}").status_code, receipts)
        assert list(answers) == [200] * 6


def test_a_payload_whose_row_comes_late_turns_no_other_away(front: Front, client: httpx.Client) -> None:
    """As after an outage of the ledger: nothing but the row was late, no run is behind."""
    receipt = _written(front, datetime.now(UTC) - timedelta(days=90))
    front.runs.pause()
    try:
        assert client.get(f"/api/v1/receipts/{receipt}").json()["state"] == "landed"
        time.sleep(FRESH_S)
        assert client.get("/health").json()["backlog"]["oldest_unprocessed_s"] < 60
        answer = client.post(BATCH, json=batch(), headers={"Prefer": "respond-async"})
        assert answer.status_code == 202
    finally:
        with front.engine.begin() as connection:  # nobody would wake its lane again soon
            connection.execute(sa.text("DELETE FROM ingestion.drops WHERE id = :id"), {"id": receipt})
        front.runs.resume()


def _written(front: Front, at: datetime) -> uuid.UUID:
    """The id of a payload that lies on landing storage since then, and has no row."""
    drop_id = uuid.UUID(int=int(at.timestamp() * 1000) << 80 | uuid_utils.compat.uuid7().int & (1 << 80) - 1)
    drop = NewDrop(
        flow="conversations",
        partition=f"{at:%Y-%m-%d}",
        lane="none",
        principal="admin",
        body=b"{}",
        records=1,
    )
    path = segment_path(drop_id, at)
    front.app.door.storage.write(path, encode([pack(drop, drop_id=drop_id, received_at=at)], path)[0])
    return drop_id


def test_a_receipt_that_is_not_there_is_not_waited_for_long(client: httpx.Client) -> None:
    for receipt, longest in ((uuid_utils.compat.uuid7(), 3.0), ("0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f", 0.5)):
        started = time.monotonic()
        assert client.get(f"/api/v1/receipts/{receipt}").status_code == 404
        assert time.monotonic() - started < longest


def test_wait_that_ends_while_a_run_is_at_work_says_so(front: Front, client: httpx.Client) -> None:
    go_on = threading.Event()

    def slow(drop: DropRef) -> DropOutcome:
        go_on.wait(10)
        return stored(drop)

    front.runs.outcome = slow
    try:
        answer = client.post(BATCH, json=batch(), headers={"Prefer": "wait=5"})
        receipt = client.get(answer.headers["location"]).json()
    finally:
        front.runs.outcome = stored
        go_on.set()
    assert (answer.status_code, answer.json()["state"]) == (202, "claimed")
    assert answer.json() == receipt
    assert (answer.headers["x-receipt-id"], answer.headers["preference-applied"]) == (receipt["id"], "wait=5")


def test_wait_that_ends_first_gives_the_receipt(front: Front, client: httpx.Client) -> None:
    front.runs.pause()
    try:
        started = time.monotonic()
        answer = client.post(BATCH, json=batch(), headers={"Prefer": "wait=1"})
        assert answer.status_code == 202
        assert 0.9 < time.monotonic() - started < 5
        assert answer.json()["state"] == "landed"
    finally:
        front.runs.resume()


def test_records_are_listed_in_order_and_in_pages(front: Front, client: httpx.Client) -> None:
    front.runs.outcome = first_rejected
    try:
        answer = client.post(BATCH, json=batch(5))
    finally:
        front.runs.outcome = stored
    address = f"/api/v1/receipts/{answer.headers['x-receipt-id']}/records"
    first = client.get(address, params={"limit": 3}).json()
    rest = client.get(address, params={"limit": 3, "cursor": first["next"]}).json()
    assert rest["next"] is None
    items = first["items"] + rest["items"]
    assert [item["index"] for item in items] == [0, 1, 2, 3, 4]
    assert items[0] == {"index": 0, "status": "rejected", "code": "no_type", "reason": "the type is missing"}
    assert {item["status"] for item in items[1:]} == {"stored"}


def test_payload_that_failed_is_422_with_its_receipt(front: Front, client: httpx.Client) -> None:
    front.runs.outcome = failed
    try:
        answer = client.post(BATCH, json=batch())
    finally:
        front.runs.outcome = stored
    assert answer.status_code == 422
    assert "ZeroDivisionError" in answer.json()["detail"]
    assert answer.json()["receipt"]["state"] == "failed"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("zstd", zstandard.compress), ("x-gzip", gzip.compress), ("identity", bytes)],
)
def test_content_codings(client: httpx.Client, coding: str, encode) -> None:
    body = encode(json.dumps(batch(3)).encode())
    answer = client.post(
        BATCH, content=body, headers={"Content-Encoding": coding, "Content-Type": "application/json"}
    )
    assert answer.status_code == 200
    assert answer.json()["stats"]["messages_processed"] == 3


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"{", {}),
        (400, b"", {}),
        (400, b'{"messages":[{"a":truu}]}', {}),
        (400, b"{}", {}),
        (400, b'{"messages":[],"config":{}}', {}),
        (400, b'{"messages":[' + b",".join([b"1"] * 1001) + b"]}", {}),
        (400, b'{"messages":[' + b",".join([b"1"] * 100_001) + b"]}", {}),
        (400, b"not gzip", {"Content-Encoding": "gzip"}),
        (400, gzip.compress(b'{"messages":[1]}', mtime=0)[:-6], {"Content-Encoding": "gzip"}),
        (400, zstandard.compress(b'{"messages":[1]}' * 99)[:-3], {"Content-Encoding": "zstd"}),
        (400, b'{"messages":[1]}', {"Idempotency-Key": "x" * 256}),
        (413, b'{"messages":[' + b"[" * 300 + b"]" * 300 + b"]}", {}),
        (413, b'{"messages":' + b"[" * 200_000, {}),
        (415, b"{}", {"Content-Encoding": "br"}),
        (415, b"{}", {"Content-Type": "text/plain"}),
        (422, b"[]", {}),
        (422, b'{"messages":null}', {}),
        (422, b'{"messages":{}}', {}),
        (422, b'{"messages":[1],"sessionId":7}', {}),
        (422, b'{"messages":[1],"sessionId":"' + b"s" * 129 + b'"}', {}),
        (422, b'{"todos":[{"sessionId":"s"}]}', {}),
        (422, b'{"todos":[{"sessionId":"s","filename":"f","todos":3}]}', {}),
        (422, b'{"config":[]}', {}),
    ],
)
def test_bad_requests(client: httpx.Client, status: int, body: bytes, headers: dict[str, str]) -> None:
    answer = client.post(BATCH, content=body, headers={"Content-Type": "application/json", **headers})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":["\\ud800 lone", {"a\\u0000":1}, 3, null, []]}',
        b'{"todos":[{"sessionId":"s","filename":"f","todos":[]}]}',
        b'{"config":{"settings":{"a":1}}}',
        b'{"messages":['
        + b",".join([b'[1,2,3,4,5,6,7,8,9,"\\\\"]'] * 1000)
        + b',"unknown field":1}'[:0]
        + b'],"later":{"x":[]}}',
        b'{"messages":[' + b",".join([b"[" + b"1," * 99 + b"1]"] * 1000) + b"]}",
        b'{"messages":[' + b"[" * 190 + b"]" * 190 + b',"[[[[[[[[[[[["]}',
    ],
)
def test_unusual_but_good_bodies(client: httpx.Client, body: bytes) -> None:
    answer = client.post(BATCH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text


def test_a_single_message(client: httpx.Client) -> None:
    answer = client.post("/api/v1/ingest/message", json={"type": "user", "uuid": "a"})
    assert answer.status_code == 200
    assert answer.json()["stats"]["messages_received"] == 1
    assert client.post("/api/v1/ingest/message", json=[1]).status_code == 422


def test_idempotency_key(client: httpx.Client) -> None:
    body, headers = batch(), {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(BATCH, json=body, headers=headers)
    again = client.post(BATCH, json=body, headers=headers)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-receipt-id"] == first.headers["x-receipt-id"]
    assert again.json() == first.json()
    later = client.post(BATCH, json=body, headers={**headers, **ASYNC})
    assert (later.status_code, later.json()["state"]) == (202, "done")
    other = client.post(BATCH, json=batch(), headers=headers)
    assert other.status_code == 422
    assert other.json()["errors"][0]["type"] == "idempotency_conflict"


def test_concurrent_replays_are_one_payload(front: Front) -> None:
    body, headers = batch(), {"Idempotency-Key": str(uuid.uuid4())}
    answers: list[httpx.Response] = []

    def send() -> None:
        with front.client() as client:
            answers.append(client.post(BATCH, json=body, headers=headers))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-receipt-id"] for answer in answers}) == 1


def test_a_client_that_goes_away_frees_its_place(front: Front) -> None:
    front.runs.pause()
    finished = front.app.door.finished
    try:
        before = finished.waiting
        with front.client() as impatient, pytest.raises(httpx.ReadTimeout):
            impatient.post(BATCH, json=batch(), timeout=0.5)
        wait_until(lambda: finished.waiting == before, seconds=5, what="the waiter to be released")
    finally:
        front.runs.resume()
    assert front.app.door.body_memory.used_bytes == 0


def test_a_reader_that_goes_away_frees_its_place(front: Front, client: httpx.Client) -> None:
    front.runs.pause()
    finished = front.app.door.finished
    try:
        address = client.post(BATCH, json=batch(), headers=ASYNC).headers["location"]
        before = finished.waiting
        with front.client() as impatient, pytest.raises(httpx.ReadTimeout):
            impatient.get(address, headers={"Prefer": "wait=60"}, timeout=0.5)
        wait_until(lambda: finished.waiting == before, seconds=5, what="the waiter to be released")
    finally:
        front.runs.resume()


def test_where_nobody_can_look_no_receipt_is_said_to_be_none(front: Front) -> None:
    now = datetime.now(UTC)
    ids = [
        uuid.UUID(int=int((now - timedelta(days=days)).timestamp() * 1000) << 80 | 7 << 76 | 2 << 62)
        for days in (3, 5, 8)
    ]

    async def find() -> list[object]:
        door = front.app.door
        reading = async_engine(front.settings.postgres_url)
        away = engine("postgresql://nobody@127.0.0.1:1/none")
        lookup = ReceiptLookup(engine=away, async_engine=reading, storage=door.storage, clock=door.clock)
        found = await asyncio.gather(*map(lookup.find, ids), return_exceptions=True)
        lookup.stop()
        await reading.dispose()
        return list(found)

    assert [type(one) for one in asyncio.run(find())] == [OperationalError] * 3
