"""A zone's sources, through the whole front door: messages are payloads with receipts, and a wrong source is refused."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis

from ingestion_assets.zones.document import ZoneError
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.zone import Zone
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.conftest import Publish


class Order(msgspec.Struct):
    """A record."""

    id: str


@pytest.fixture(scope="module")
def front(postgres_url: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("home")
    with serving(settings_for(home=home, postgres_url=postgres_url, redis_url=redis_server)) as running:
        yield running


def receipts(front: Front, zone: str) -> list[dict[str, Any]]:
    with front.client() as client:
        return client.get("/api/v1/receipts", params={"flow": zone}).json()["items"]


def test_an_entry_of_a_stream_becomes_a_payload_of_the_zone(
    front: Front, publish: Publish, redis_url: str
) -> None:
    publish("streamed", sources=[{"redis": {"stream": "streamed"}}])
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("streamed", {"data": b'[{"id": "1"}, {"id": "2"}]'})
        client.xadd("streamed", {"data": b"{"})
        wait_until(lambda: client.exists("streamed:dead"), seconds=30, what="the dead letter")
        wait_until(
            lambda: [one["state"] for one in receipts(front, "streamed")] == ["done"],
            seconds=30,
            what="its run",
        )
        [(_, dead)] = client.xrange("streamed:dead")  # type: ignore[misc]
    assert receipts(front, "streamed")[0]["records"] == 2
    assert b"holds no records of streamed" in dead[b"refused_for"]
    with front.client() as client:
        assert client.get("/health").json()["dependencies"]["streamed: redis stream streamed"] == {
            "status": "up"
        }


def test_a_zone_with_a_wrong_source_is_refused() -> None:
    with pytest.raises(ZoneError, match="one of redis, sqs, kafka"):
        Zone(name="orders", records=record_type(Order), asset="orders", sources=[{"nats": {}}])
