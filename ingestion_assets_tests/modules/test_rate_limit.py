"""The promised limit: 60 syncs an hour and site, over two front doors that are processes of their own; the audit has every attempt."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, process
from ingestion_assets_tests.modules.replay import body, module

ALLOWED, TOO_MANY = 60, 12


def test_the_61st_sync_in_an_hour_is_refused_by_either_front_door(
    fresh_postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        doors = []
        for name in ("one", "two"):
            child, url = opened.enter_context(
                process(
                    home=tmp_path / name, postgres_url=fresh_postgres_url, INGESTION_REDIS_URL=redis_url,
                    INGESTION_SYNC_RATE_LIMIT="60/hour", INGESTION_TEST_NO_RUNS="1",
                )
            )  # fmt: skip
            doors.append(
                (child.pid, opened.enter_context(httpx.Client(base_url=f"{url}/api/v1", timeout=30)))
            )
        (first, one), (second, two) = doors
        assert first != second
        admin = {"X-API-Key": ADMIN_TOKEN}
        site = one.post("/sites", json={"name": "site"}, headers=admin).raise_for_status().json()
        path, key = f"/sites/{site['id']}", {"X-API-Key": site["api_key"], "Prefer": "respond-async"}

        def sync(number: int) -> httpx.Response:
            door = (one, two)[number % 2]
            return door.post(f"{path}/modules/sync", json=body([module("a")], minute=number), headers=key)

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(sync, range(ALLOWED + TOO_MANY)))
        assert Counter(one.status_code for one in answers) == {202: ALLOWED, 429: TOO_MANY}
        for number in (0, 1):
            refused = sync(number)
            assert refused.status_code == 429
            assert 3000 < int(refused.headers["Retry-After"]) <= 3600
        noted = two.get(f"{path}/attempts", params={"limit": 500}, headers=admin).json()["items"]
    assert Counter((one["outcome"], one["status"]) for one in noted) == {
        ("accepted", 202): ALLOWED,
        ("rate_limited", 429): TOO_MANY + 2,
    }
    receipts = {one["receipt"] for one in noted if one["outcome"] == "accepted"}
    assert receipts == {one.headers["X-Receipt-Id"] for one in answers if one.status_code == 202}
    assert {one["principal"] for one in noted} == {f"site-{site['id']}"}
    assert {one["remote_address"] for one in noted} == {"127.0.0.1"}
    assert all(one["size_bytes"] for one in noted if one["outcome"] == "accepted")
