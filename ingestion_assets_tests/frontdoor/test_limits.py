"""Rate limits: shared by front doors, local while the shared store is down, and cheap."""

import asyncio
import time
from pathlib import Path

import pytest

from ingestion_assets.frontdoor.limits import RateLimits
from ingestion_assets.stores.embedded import embedded_valkey, free_port
from ingestion_assets_tests.frontdoor.conftest import serving, settings_for
from ingestion_assets_tests.servers import running, start, stop


def test_shared_by_several_front_doors(redis_url: str) -> None:
    async def ask() -> list[bool]:
        doors = [RateLimits(policy="10/hour", store_url=redis_url) for _ in range(3)]
        verdicts = await asyncio.gather(*(doors[turn % 3].judge("ada") for turn in range(15)))
        other = await doors[0].judge("eve")
        assert other.allowed
        for door in doors:
            assert door.mode == "shared"
            await door.stop()
        refused = next(verdict for verdict in verdicts if not verdict.allowed)
        assert refused.retry_after_s >= 1
        assert dict(refused.headers)["RateLimit-Policy"] == '"per-hour";q=10;w=3600'
        return [verdict.allowed for verdict in verdicts]

    allowed = asyncio.run(ask())
    assert sum(allowed) == 10


def test_every_limit_of_a_policy_holds(redis_url: str) -> None:
    async def ask() -> int:
        limits = RateLimits(policy="100/second;7/hour", store_url=redis_url)
        passed = sum([(await limits.judge("ada")).allowed for _ in range(20)])
        await limits.stop()
        return passed

    assert asyncio.run(ask()) == 7


def test_falls_back_at_once_and_recovers(tmp_path: Path) -> None:
    server = embedded_valkey(folder=tmp_path / "valkey", port=free_port())

    async def ask(limits: RateLimits) -> float:
        started = time.perf_counter()
        assert (await limits.judge("ada")).allowed
        return time.perf_counter() - started

    async def story() -> None:
        limits = RateLimits(policy="1000/hour", store_url=server.url)
        process = start(server)
        await ask(limits)
        assert limits.mode == "shared"
        stop(server, process)
        assert await ask(limits) < 0.7
        assert limits.mode == "local"
        assert sum([await ask(limits) for _ in range(50)]) < 0.5
        with running(server):
            deadline = time.monotonic() + 5
            while limits.mode != "shared":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert await ask(limits) < 0.5
            assert limits.mode == "shared"
        await limits.stop()

    asyncio.run(story())


def test_over_http(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(
        home=tmp_path, postgres_url=postgres_url, redis_url=redis_url, rate_limit="5/minute"
    )
    with serving(settings) as front, front.client() as client:
        answers = [client.get("/api/v1/receipts") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[0].headers["ratelimit-policy"] == '"per-minute";q=5;w=60'
        assert answers[0].headers["ratelimit"].startswith('"per-minute";r=4;t=')
        assert int(answers[5].headers["retry-after"]) >= 1
        assert answers[5].headers["ratelimit"].startswith('"per-minute";r=0')
        assert client.get("/health").json()["rate_limits"] == "shared"


def test_a_store_that_was_never_there_is_named_in_health(postgres_url: str, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    settings = settings_for(home=tmp_path, postgres_url=postgres_url, redis_url=url, rate_limit="5/hour")
    with serving(settings) as front, front.client() as client:
        assert [client.get("/api/v1/receipts").status_code for _ in range(6)] == [200] * 5 + [429]
        health = client.get("/health").json()
        assert (health["rate_limits"], health["dependencies"]["redis"]["status"]) == ("local", "down")
        assert health["status"] == "degraded"


@pytest.mark.parametrize("policy", ["", " "])
def test_an_empty_policy_switches_it_off(policy: str) -> None:
    async def ask() -> None:
        limits = RateLimits(policy=policy, store_url=None)
        assert (limits.mode, (await limits.judge("ada")).headers) == ("off", ())

    asyncio.run(ask())
