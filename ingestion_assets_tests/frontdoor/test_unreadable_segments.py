"""What cannot be read on landing storage is said everywhere where somebody may look for it."""

import httpx

from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.late_segments import register_late
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import segment_path
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until


def test_a_damaged_segment_is_told_of_until_it_is_whole(front: Front, client: httpx.Client) -> None:
    """Durable and given out by a front door that was killed before there was a row; then its first byte is lost."""
    door = front.app.door
    at, drop_id, path = (
        door.clock.now(),
        door.clock.new_id(),
        segment_path(door.clock.new_id(), door.clock.now()),
    )
    drop = NewDrop(
        flow="conversations",
        partition=f"{at:%Y-%m-%d}",
        lane="none",
        principal="admin",
        body=b"{}",
        records=1,
    )
    whole, _ = encode([pack(drop, drop_id=drop_id, received_at=at)], path)
    door.storage.write(path, b"|" + whole[1:])

    def health() -> dict[str, object]:
        return client.get("/health").json()

    address = f"/api/v1/receipts/{drop_id}"
    wait_until(lambda: client.get(address).status_code == 503, seconds=10, what="the damage to be noticed")
    refused = client.get(address).json()
    assert path in refused["detail"]
    assert "restored or discarded" in refused["detail"]
    wait_until(lambda: health()["unreadable_segments"], seconds=10, what="health to say so")
    assert health()["status"] == "degraded"
    assert [(one["path"], "header" in one["reason"]) for one in health()["unreadable_segments"]] == [
        (path, True)
    ]
    assert "ingestion_unreadable_segments 1.0" in client.get("/metrics").text

    door.storage.write(path, whole)
    assert register_late(front.engine, door.storage).registered == 1
    assert client.get(address).status_code == 200
    wait_until(lambda: not health()["unreadable_segments"], seconds=10, what="health to be as before")


def test_the_clock_of_this_machine_is_compared_with_the_ledgers(client: httpx.Client) -> None:
    assert client.get("/health/ready").json()["warnings"] == []
    assert abs(client.get("/health").json()["clock_off_s"]) < 5
    assert "ingestion_clock_off_seconds" in client.get("/metrics").text
