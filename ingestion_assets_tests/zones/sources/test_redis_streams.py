"""Entries of a Redis stream land once each, whoever dies, and what cannot be taken is kept."""

import asyncio
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.stores.postgres import engine
from ingestion_assets.zones.sources.following import follow
from ingestion_assets.zones.sources.source_config import read_source
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.sources.followed import FLOW, following, killed_after_landing, landed

SHOP = {"redis": {"stream": "shop", "claim_after_s": 1}}
GROUP = "ingestion-notes"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def note(number: int) -> bytes:
    return b'{"id": %d}' % number


def add(client: redis.Redis, *contents: bytes) -> list[str]:
    return [client.xadd("shop", {"data": content}).decode() for content in contents]  # type: ignore[union-attr]


def pending(client: redis.Redis) -> int:
    info: Any = client.xpending("shop", GROUP)
    return info["pending"]


def unacknowledged(client: redis.Redis) -> int:
    """Entries in hand, and those that were not read yet."""
    [group] = client.xinfo_groups("shop")  # type: ignore[misc]
    return group["pending"] + (group["lag"] or 0)


def acknowledged(client: redis.Redis) -> None:
    wait_until(lambda: unacknowledged(client) == 0, seconds=60, what="all entries to be acknowledged")


def digests(rows: list[dict[str, Any]]) -> list[bytes]:
    return sorted(bytes(row["body_sha256"]) for row in rows)


def test_entries_land_once_and_are_acknowledged(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    before = add(client, note(1), note(2))  # before anybody listened
    with following(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url) as front:
        front.landed(count=2)
        after = add(client, b"[1, 2, 3]")
        rows = front.landed(count=3)
        acknowledged(client)
        front.at_rest()
    assert digests(rows) == sorted(sha256(body).digest() for body in (note(1), note(2), b"[1, 2, 3]"))
    assert {row["records"] for row in rows if row["body_sha256"] == sha256(b"[1, 2, 3]").digest()} == {3}
    assert [row["idempotency_key"] for row in rows] == [f"redis:shop:{entry}" for entry in before + after]
    assert {(row["principal"], row["attributes"]["via"]) for row in rows} == {("redis:shop", "redis")}
    assert client.xinfo_consumers("shop", GROUP) == []  # who goes with nothing in hand leaves no trace


def test_a_consumer_that_is_killed_between_landing_and_acknowledging_loses_and_doubles_nothing(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    contents = [note(number) for number in range(250)]  # more than are taken at once
    add(client, *contents)
    own = engine(fresh_postgres_url)
    known = 0
    for _ in range(3):
        killed_after_landing(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url)
        before, known = known, len(landed(own, tmp_path))
        assert known > before
        assert unacknowledged(client) >= len(contents) - known
    with following(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url) as front:
        acknowledged(client)
        rows = landed(front.engine, tmp_path)
    assert digests(rows) == sorted(sha256(body).digest() for body in contents)
    assert len(client.xinfo_consumers("shop", GROUP)) == 3  # type: ignore[arg-type]  # the killed ones, not yet forgotten


def test_what_is_no_payload_is_kept_as_a_dead_letter_and_holds_up_no_other(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    bad = add(client, b"no json", b'"crash"')
    bad.append(client.xadd("shop", {"other": b"\xff\x00", "more": "1"}).decode())  # type: ignore[union-attr]
    good = add(client, note(1))
    with following(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url) as front:
        rows = front.landed(count=1)
        acknowledged(client)
        front.at_rest()
    assert rows[0]["idempotency_key"] == f"redis:shop:{good[0]}"
    dead: Any = {fields[b"refused_entry"].decode(): fields for _, fields in client.xrange("shop:dead")}  # type: ignore[union-attr]
    assert sorted(dead) == sorted(bad)
    assert [dead[entry][b"refused_for"].decode() for entry in bad] == [
        f"{bad[0]}.json is no JSON", "it could not be read: ZeroDivisionError", "it has no field data",
    ]  # fmt: skip
    assert (dead[bad[0]][b"data"], dead[bad[2]][b"other"], dead[bad[2]][b"more"]) == (
        b"no json",
        b"\xff\x00",
        b"1",
    )


def test_two_fields_of_an_entry_are_two_payloads(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    more = {"redis": {"stream": "shop", "field": "more", "group": "others"}}
    entry: Any = client.xadd("shop", {"data": note(1), "more": note(2)})
    with following(tmp_path, fresh_postgres_url, SHOP, more, redis_url=redis_url) as front:
        rows = front.landed(count=2)
        acknowledged_by = [GROUP, "others"]
        wait_until(
            lambda: all(not one["pending"] and not one["lag"] for one in client.xinfo_groups("shop")),  # type: ignore[union-attr]
            seconds=60, what=f"{acknowledged_by} to acknowledge it",
        )  # fmt: skip
        front.at_rest()
    assert digests(rows) == sorted(sha256(note(number)).digest() for number in (1, 2))
    keys = {f"redis:shop:{entry.decode()}", f"redis:shop:{entry.decode()}:more"}
    assert {row["idempotency_key"] for row in rows} == keys
    assert client.xlen("shop:dead") == 0


def test_a_dead_letter_that_is_sent_again_keeps_its_own_fields(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    sent = {b"data": b"no json", b"refused_for": b"it was before", b"refused_for_2": b"and again"}
    client.xadd("shop", sent)  # type: ignore[arg-type]
    with following(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url):
        wait_until(lambda: client.xlen("shop:dead"), seconds=60, what="the dead letter")
    letters: Any = client.xrange("shop:dead")
    [(_, dead)] = letters
    assert sent.items() <= dead.items()
    assert dead[b"refused_for_3"].endswith(b"is no JSON")


def test_an_id_that_comes_again_with_another_content_is_a_dead_letter(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    with following(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url) as front:
        client.xadd("shop", {"data": note(1)}, id="5-1")
        front.landed(count=1)
        acknowledged(client)
        client.delete("shop")  # the group with it
        client.xadd("shop", {"data": note(2)}, id="5-1")
        wait_until(lambda: client.xlen("shop:dead"), seconds=60, what="the dead letter")
        acknowledged(client)
    assert len(landed(front.engine)) == 1


def test_an_entry_that_cannot_land_stays_in_hand_until_it_can_and_health_says_so(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    with following(tmp_path, fresh_postgres_url, SHOP, redis_url=redis_url) as front:
        front.at_rest()
        landing = tmp_path / "landing"
        away = landing.rename(landing.with_name("away"))
        landing.touch()  # no folder can be made in its place
        add(client, note(1))
        wait_until(lambda: "LandingUnavailable" in str(front.said), seconds=60, what="health to say it")
        assert pending(client) == 1
        landing.unlink()
        away.rename(landing)
        front.landed(count=1)
        acknowledged(client)
        front.at_rest()


def test_redis_that_goes_away_is_told_and_harms_no_other_source(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    client.set("broken", "no stream")
    broken = {"redis": {"stream": "broken"}}
    with following(tmp_path, fresh_postgres_url, broken, SHOP, redis_url=redis_url) as front:
        wait_until(
            lambda: "WRONGTYPE" in str(front.said.get("notes: redis stream broken")),
            seconds=30,
            what="word of it",
        )
        add(client, note(1))
        front.landed(count=1)
        name = "notes: redis stream shop"
        wait_until(lambda: front.said.get(name, "not yet") is None, seconds=60, what="all to be well there")
        client.client_kill_filter(_type="normal", skipme=True)
        add(client, note(2))
        front.landed(count=2)
        client.delete("broken")
        front.at_rest()
    assert front.said == {}  # nobody follows them any more


def test_entries_wait_for_memory_and_none_is_lost(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "redis_url": redis_url,
        "max_decoded_bytes": 2**20,
        "max_inflight_bytes": 2**20,
    }
    contents = [json.dumps({"id": number, "text": "x" * 600_000}).encode() for number in range(20)]
    with following(tmp_path, fresh_postgres_url, SHOP, **changes) as front:
        front.at_rest()
        memory = front.door.body_memory
        memory.used_bytes += memory.limit_bytes  # taken by requests
        add(client, *contents, b" " * (2**20 + 1))
        wait_until(lambda: "Too many large requests" in str(front.said), seconds=60, what="health to say it")
        assert landed(front.engine) == []
        front.loop.call_soon_threadsafe(memory.give_back, memory.limit_bytes)
        rows = front.landed(count=len(contents))
        acknowledged(client)
        assert memory.used_bytes == 0
    assert digests(rows) == sorted(sha256(body).digest() for body in contents)
    [(_, refused)] = client.xrange("shop:dead")  # type: ignore[misc]
    assert b"more than the 1048576 a payload may have" in refused[b"refused_for"]


def test_without_redis_health_says_what_is_missing(fresh_postgres_url: str, tmp_path: Path) -> None:
    with following(tmp_path, fresh_postgres_url, SHOP) as front:
        wait_until(lambda: "INGESTION_REDIS_URL" in str(front.said), seconds=60, what="health to say it")


def test_following_ends_when_it_is_told_to_whatever_it_is_at(
    fresh_postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Redis's client swallows a cancellation now and then, on Python 3.11."""

    async def begin_and_end(door: FrontDoor) -> int:
        for turn in range(150):
            task = asyncio.create_task(follow(door, FLOW, read_source(SHOP)))
            await asyncio.sleep(turn % 30 / 2000)  # the point at which it is told, not a wait
            task.cancel()
            if not (await asyncio.wait([task], timeout=10))[0]:
                return turn
        return -1

    with following(tmp_path, fresh_postgres_url, redis_url=redis_url) as front:
        ended = asyncio.run_coroutine_threadsafe(begin_and_end(front.door), front.loop)
        assert ended.result(120) == -1


def test_two_front_doors_share_a_stream(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    with (
        following(tmp_path / "one", fresh_postgres_url, SHOP, redis_url=redis_url),
        following(tmp_path / "two", fresh_postgres_url, SHOP, redis_url=redis_url) as front,
    ):
        contents = [note(number) for number in range(1000)]
        add(client, *contents)
        acknowledged(client)
        rows = landed(front.engine, tmp_path / "one", tmp_path / "two")
    assert digests(rows) == sorted(sha256(body).digest() for body in contents)


def test_a_message_may_be_several_payloads(
    fresh_postgres_url: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    lines = {"redis": {"stream": "shop", "format": "jsonl"}}
    [entry] = add(client, b"1\n2\n3")
    with following(tmp_path, fresh_postgres_url, lines, redis_url=redis_url) as front:
        rows = front.landed(count=3)
    assert [row["idempotency_key"] for row in rows] == [
        f"redis:shop:{entry}{more}" for more in ("", "#1", "#2")
    ]
