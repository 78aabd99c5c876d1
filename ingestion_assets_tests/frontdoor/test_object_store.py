"""Landing on an object store that hangs, is slow, or has lost its bucket; and what looking at it costs."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing.inbox import Inboxes, Taken
from ingestion_assets.landing.object_storage import ObjectStorage
from ingestion_assets.landing.storage import ANSWERS_WITHIN_S, open_storage
from ingestion_assets.orchestration.sensors import SEGMENTS_APART, SWEEPS_APART
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, process
from ingestion_assets_tests.object_stores import BUCKET, S3Server, s3_server
from ingestion_assets_tests.servers import wait_until

A_DAY_S = 86_400
LISTS_A_DAY = 2000


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def url(s3: S3Server, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    landing = {"INGESTION_LANDING_URL": f"s3://{BUCKET}"}
    with process(
        home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url, **landing, **s3.environment
    ) as (_, url):
        yield url


@pytest.fixture
def storage(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStorage:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    opened = open_storage(Settings(landing_url=f"s3://{BUCKET}"))
    assert isinstance(opened, ObjectStorage)
    return opened


def test_an_idle_day_costs_few_lists(s3: S3Server, storage: ObjectStorage, postgres_url: str) -> None:
    """Whatever lies in inboxes' folders by then, and however many there are."""
    now = datetime(2026, 1, 31, 12, 5, tzinfo=UTC)
    storage.write("segments/2026-01-30/23-59/a.seg", b"x")
    for flow in ("conversations", "entities"):
        storage.write(f"{flow}/accepted/2026-01-30/a.txt", b"x")
    inboxes_of = Inboxes(engine(postgres_url), storage)
    assert _look(inboxes_of) == {"conversations", "entities"}
    before = s3.lists()
    for _ in range(20):
        storage.probe()
    probes = s3.lists() - before
    in_turns = [_look(inboxes_of) for _ in range(6)]
    assert in_turns == [set(), {"entities"}, {"conversations"}] * 2
    inboxes = (s3.lists() - before - probes) / len(in_turns)
    all_inboxes = s3.lists() - before - probes
    assert list(storage.minutes(now - timedelta(minutes=7), now)) == []
    segments = s3.lists() - before - probes - all_inboxes
    assert [len(list(storage.list(folder))) for folder, _ in storage.segment_folders()] == [1]
    sweep = s3.lists() - before - probes - all_inboxes - segments
    looks = A_DAY_S / Settings().landing_look_s
    assert probes == 0
    assert inboxes * looks + segments * looks / SEGMENTS_APART + sweep * looks / SWEEPS_APART < LISTS_A_DAY


def _look(inboxes: Inboxes) -> set[str]:
    """A look into inboxes, as the sensor does it; the flows whose it was."""
    looked_at = set(inboxes.to_look_at(all_flows()))
    for flow in looked_at:
        assert inboxes.take(all_flows()[flow], max_bytes=100) == Taken()
    return looked_at


def test_an_inbox_in_use_is_looked_into_each_time(storage: ObjectStorage, postgres_url: str) -> None:
    inboxes = Inboxes(engine(postgres_url), storage)
    for flow in ("conversations", "entities"):
        storage.write(f"{flow}/accepted/2026-01-30/a.txt", b"x")
    assert "entities" in _look(inboxes)
    storage.write("entities/inbox/empty.txt", b"")
    taken = []
    while not taken:
        flows = inboxes.to_look_at(all_flows())
        taken = [flow for flow in flows if inboxes.take(all_flows()[flow], max_bytes=100) != Taken()]
    assert taken == ["entities"]
    assert all("entities" in _look(inboxes) for _ in range(4))


def test_minutes_over_midnight_are_found_and_no_others(storage: ObjectStorage) -> None:
    paths = [f"segments/2026-02-{day}/{minute}/a.seg" for day, minute in (("27", "23-57"), ("27", "23-58"), ("28", "00-00"), ("28", "00-02"))]  # fmt: skip
    for path in paths:
        storage.write(path, b"x")
    first = datetime(2026, 2, 27, 23, 58, 30, tzinfo=UTC)
    assert list(storage.minutes(first, first + timedelta(minutes=3))) == paths[1:3]


def test_a_store_that_hangs_is_told_within_the_wait_that_was_asked_for(s3: S3Server, url: str) -> None:
    acknowledged = [_send(url, "before").json()["id"]]
    with s3.standing_still():
        began = time.monotonic()
        answer = _send(url, "hangs", prefer="wait=3")
        assert time.monotonic() - began < 5
        assert answer.status_code == 503
        assert answer.json()["accepted"] == "unknown"
        time.sleep(max(0.0, began + ANSWERS_WITHIN_S + 0.5 - time.monotonic()))
        began = time.monotonic()
        answer = _send(url, "refused", prefer="wait=3")
        assert time.monotonic() - began < 1
        assert answer.status_code == 503
        assert "Nothing was accepted" in answer.json()["detail"]
        wait_until(lambda: _ready(url) == 503, seconds=15, what="the front door to say so")
    wait_until(lambda: _send(url, "after").status_code == 202, seconds=60, what="the store to take payloads")
    wait_until(lambda: _ready(url) == 200, seconds=15, what="the front door to be ready again")
    acknowledged.append(_send(url, "after").json()["id"])
    for receipt in acknowledged:
        wait_until(lambda receipt=receipt: _receipt(url, receipt) == 200, seconds=10, what="the receipt")


def test_a_store_that_answers_slowly_takes_everything(s3: S3Server, url: str, postgres_url: str) -> None:
    """Payloads that come together wait together: not for as long as one after the other would."""
    keys = [f"slow-{number}" for number in range(24)]
    began = time.monotonic()
    with s3.answering_slowly(seconds=2.0), ThreadPoolExecutor(len(keys)) as clients:
        answers = list(clients.map(lambda key: _send(url, key, prefer="wait=0"), keys))
        took = time.monotonic() - began
        ready = [_ready(url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * len(keys)
    assert took < len(keys) * 2.0 / 2
    assert ready == [200] * 3, "what takes payloads is ready for them"
    with engine(postgres_url).connect() as connection:
        names = sa.text("SELECT count(*) FROM ingestion.drops WHERE idempotency_key = ANY(:keys)")
        wait_until(
            lambda: connection.scalar(names, {"keys": keys}) == len(keys), seconds=10, what="their rows"
        )


def test_a_store_that_lost_its_bucket_is_named_and_taken_again_once_it_is_there(
    s3: S3Server, url: str, postgres_url: str
) -> None:
    assert _send(url, "kept").status_code == 202
    s3.wipe()
    answer = _send(url, "nowhere")
    assert answer.status_code == 503
    assert answer.json()["dependency"] == "landing"
    wait_until(lambda: _ready(url) == 503, seconds=10, what="the health")
    s3.make_bucket()
    assert _send(url, "nowhere").status_code == 202
    wait_until(lambda: _ready(url) == 200, seconds=10, what="the health")
    with engine(postgres_url).connect() as connection:
        keys = sa.text("SELECT count(*) FROM ingestion.drops WHERE idempotency_key = ANY(:keys)")
        assert connection.scalar(keys, {"keys": ["kept", "nowhere"]}) == 2


def test_a_store_that_refuses_connections_is_told_at_once(s3: S3Server, url: str) -> None:
    """The last test: the store does not come back."""
    assert _send(url, "last").status_code == 202
    s3.process.kill()
    s3.process.wait()
    for key in ("first refused", "second"):
        began = time.monotonic()
        answer = _send(url, key, prefer="wait=20")
        assert (answer.status_code, answer.json()["dependency"]) == (503, "landing")
        assert time.monotonic() - began < 2
    wait_until(lambda: _ready(url) == 503, seconds=10, what="the health")


def _send(url: str, key: str, *, prefer: str = "respond-async") -> httpx.Response:
    headers = {"X-API-Key": ADMIN_TOKEN, "Prefer": prefer, "Idempotency-Key": key}
    return httpx.post(f"{url}/api/v1/ingest/batch", json={"messages": [{"type": "user"}]}, headers=headers, timeout=60)  # fmt: skip


def _ready(url: str) -> int:
    return httpx.get(f"{url}/health/ready", timeout=10).status_code


def _receipt(url: str, receipt: str) -> int:
    return httpx.get(f"{url}/api/v1/receipts/{receipt}", headers={"X-API-Key": ADMIN_TOKEN}).status_code
