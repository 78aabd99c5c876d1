"""Jobs from Redis land as they are, once each, and what the run refuses of them is a reject; all against real servers."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa

from ingestion_assets.landing.inbox import Inboxes
from ingestion_assets.modules.checks import check_inventory
from ingestion_assets.modules.flow import MODULES
from ingestion_assets.modules.web.queue_intake import ALIVE, POSTPONED, QUEUE, TAKEN
from ingestion_assets_tests.modules.front import Front, serving
from ingestion_assets_tests.modules.replay import body, make_site, module, stored
from ingestion_assets_tests.servers import wait_until


@pytest.fixture
def front(fresh_postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    with serving(
        home=tmp_path, postgres_url=fresh_postgres_url, redis_url=redis_url, lane_rest_s=0
    ) as running:
        yield running


@pytest.fixture
def queues(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def job(site_id: object, data: object, *, job_id: str = "one") -> bytes:
    return json.dumps({"job_id": job_id, "site_id": site_id, "data": data, "status": "pending"}).encode()


def landed(front: Front, *, count: int) -> list[dict[str, Any]]:
    """The payloads of the queue in the order in which they landed, once there are so many and all are done or failed."""
    found: list[dict[str, Any]] = []
    query = sa.text(
        "SELECT id, partition, state, errors, attributes, records FROM ingestion.drops WHERE principal = 'queue' ORDER BY id"
    )

    def are_there() -> bool:
        with front.engine.connect() as connection:
            found[:] = [dict(row._mapping) for row in connection.execute(query)]
        return len(found) >= count and all(one["state"] in {"done", "failed"} for one in found)

    wait_until(are_there, seconds=20, what=f"{count} payloads of the queue to be finished")
    assert len(found) == count
    return found


def status(queues: redis.Redis, job_id: str) -> dict[str, str]:
    wait_until(lambda: queues.exists(f"job_status:{job_id}"), seconds=20, what=f"word of {job_id}")
    return json.loads(queues.get(f"job_status:{job_id}") or b"")


def at_rest(queues: redis.Redis) -> None:
    """Nothing is queued and nobody has a job in hand."""
    wait_until(
        lambda: not queues.llen(QUEUE) and not queues.keys(f"{TAKEN}:*"), seconds=20, what="all jobs to land"
    )


def test_jobs_land_once(front: Front, queues: redis.Redis) -> None:
    site_id, _ = front.site()
    one = job(site_id, body([module("a"), module("b")]))
    queues.rpush(f"{TAKEN}:killed", one)  # a consumer was killed with this in hand
    queues.lpush(QUEUE, one, one)
    at_rest(queues)
    (drop,) = landed(front, count=1)
    assert (drop["partition"], drop["state"], drop["records"]) == (str(site_id), "done", 2)
    assert status(queues, "one") == {"status": "landed", "receipt": str(drop["id"])}
    assert stored(front.engine, site_id).keys() == {"a", "b"}


def test_what_an_earlier_release_postponed_is_taken(front: Front, queues: redis.Redis) -> None:
    site_id, _ = front.site()
    queues.zadd(POSTPONED, {job(site_id, body([module("a")])): 9e9})
    assert [one["state"] for one in landed(front, count=1)] == ["done"]
    assert not queues.exists(POSTPONED)


def test_a_job_that_cannot_land_stays_in_hand_until_it_can(front: Front, queues: redis.Redis) -> None:
    site_id, _ = front.site()
    landing = front.settings.home / "landing"
    away = landing.rename(landing.with_name("away"))
    landing.touch()  # no folder can be made in its place
    queues.lpush(QUEUE, job(site_id, body([module("a")])))
    wait_until(lambda: queues.keys(f"{TAKEN}:*"), seconds=20, what="the job to be taken")
    [sign_of_life] = queues.keys(f"{ALIVE}:*")
    before = queues.pttl(sign_of_life)
    wait_until(lambda: queues.pttl(sign_of_life) > before, seconds=20, what="the next try")
    assert queues.keys(f"{TAKEN}:*")
    landing.unlink()
    away.rename(landing)
    at_rest(queues)
    assert [one["state"] for one in landed(front, count=1)] == ["done"]


SERVES = """
import sys
from pathlib import Path
from ingestion_assets_tests.modules.front import serving
home, postgres_url, redis_url = sys.argv[1:]
with serving(home=Path(home), postgres_url=postgres_url, redis_url=redis_url):
    sys.stdin.read()
"""


def test_a_job_that_a_killed_front_door_had_in_hand_lands_by_another(
    engine: sa.Engine, fresh_postgres_url: str, redis_url: str, queues: redis.Redis, tmp_path: Path
) -> None:
    site_id, landing = make_site(engine), tmp_path / "landing"
    command = [sys.executable, "-c", SERVES, str(tmp_path), fresh_postgres_url, redis_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as killed:
        wait_until(lambda: queues.keys(f"{ALIVE}:*"), seconds=60, what="the front door to look for jobs")
        away = landing.rename(tmp_path / "away")
        landing.touch()  # so that the job is in hand for as long as it takes to kill
        queues.lpush(QUEUE, job(site_id, body([module("a")])))
        wait_until(lambda: queues.keys(f"{TAKEN}:*"), seconds=20, what="the job to be taken")
        killed.kill()
    landing.unlink()
    away.rename(landing)
    assert queues.llen(QUEUE) == 0
    with serving(home=tmp_path, postgres_url=fresh_postgres_url, redis_url=redis_url) as front:
        wait_until(
            lambda: not queues.keys(f"{TAKEN}:*"), seconds=40, what="the job to be put back and to land"
        )
        assert [one["state"] for one in landed(front, count=1)] == ["done"]
    assert stored(engine, site_id).keys() == {"a"}


def tomorrow_and_more() -> dict[str, Any]:
    return body([module("a")]) | {"sync_timestamp": (datetime.now(UTC) + timedelta(hours=25)).isoformat()}


INVALID: Sequence[tuple[Any, str]] = [
    ("text", "The request is not valid"),
    (body([]), "modules"),
    (body([module("a"), module("a")]), "reported twice"),
    (body([module("a\0")]), "machine_name"),
    (tomorrow_and_more(), "more than a day in the future"),
]


def test_a_request_that_is_not_valid_is_a_reject_and_holds_up_no_other(
    front: Front, queues: redis.Redis
) -> None:
    site_id, _ = front.site()
    bad = [job(site_id, data, job_id=str(n)) for n, (data, _) in enumerate(INVALID)]
    queues.lpush(QUEUE, *bad, job(site_id, body([module("a")]), job_id="good"))
    *refused, applied = landed(front, count=len(bad) + 1)
    assert applied["state"] == "done"
    for one, (_, why) in zip(refused, INVALID, strict=True):
        assert (one["state"], one["errors"][0]["code"]) == ("failed", "invalid")
        assert why in one["errors"][0]["reason"]
    with front.client() as admin:
        rejects = admin.get("/rejects").json()["items"]
        attempts = admin.get(f"/sites/{site_id}/attempts").json()["items"]
    assert [(one["kind"], one["code"], one["reason"]) for one in rejects] == [
        ("payload", "invalid", one["errors"][0]["reason"]) for one in refused
    ]
    assert {(one["receipt"], one["via"], one["status"], one["outcome"]) for one in attempts} == {
        (str(applied["id"]), "queue", 202, "accepted"),
        *((str(one["id"]), "queue", 422, "invalid") for one in refused),
    }


NO_JOBS = [b"not json", b"", b"\xff\0", b"7", b'{"site_id": 1}', job("1", {}), job(0, {}), job(2**63, {}), job(-1, {}), b'{"site_id": 1, "data": ' + b"[" * 5000 + b"]" * 5000 + b"}"]  # fmt: skip


def test_what_is_no_job_is_kept_as_a_reject_of_no_site(front: Front, queues: redis.Redis) -> None:
    queues.lpush(QUEUE, *NO_JOBS, *NO_JOBS)
    for _ in ("as they came", "as a person materializes the partition"):
        for kept in landed(front, count=len(NO_JOBS)):
            assert (kept["partition"], kept["state"]) == ("0", "failed")
            assert kept["errors"][0]["reason"].startswith("it is no job: ")
        front.runs.rebuild(0)
    with front.engine.connect() as connection:
        assert all(one.passed for one in check_inventory(connection, site_id=0, done=[]))


def test_a_site_that_is_not_there_or_is_switched_off_takes_no_job_until_it_does(
    front: Front, queues: redis.Redis
) -> None:
    site_id, _ = front.site()
    with front.client() as admin:
        admin.patch(f"/sites/{site_id}", json={"active": False}).raise_for_status()
        queues.lpush(QUEUE, job(site_id, body([module("a")])), job(99, body([module("a")])))
        off, missing = landed(front, count=2)
        assert [off["errors"][0]["code"], missing["errors"][0]["code"]] == ["no_such_site"] * 2
        assert stored(front.engine, site_id) == {}
        admin.patch(f"/sites/{site_id}", json={"active": True}).raise_for_status()
        redriven(admin, off["id"])
        _, again = sorted(landed(front, count=2), key=lambda one: one["id"] == off["id"])
    assert (again["id"], again["state"]) == (off["id"], "done")
    assert stored(front.engine, site_id).keys() == {"a"}


def test_a_file_of_the_inbox_is_judged_by_the_ledgers_clock_in_its_run(front: Front) -> None:
    site_id, _ = front.site()
    file = front.settings.home / "landing" / "modules" / "inbox" / str(site_id) / "today.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(tomorrow_and_more()), encoding="utf-8")
    inboxes = Inboxes(front.engine, front.runs.storage, settled_s=0)
    front.runs.paused = True
    wait_until(lambda: inboxes.take(MODULES, max_bytes=2**20).landed, seconds=20, what="the file to land")
    front.runs.rebuild(site_id)
    with front.engine.connect() as connection:
        [(state, errors)] = connection.execute(sa.text("SELECT state, errors FROM ingestion.drops")).all()
    assert (state, errors[0]["code"]) == ("failed", "invalid")
    assert "more than a day in the future" in errors[0]["reason"]


def redriven(admin: httpx.Client, receipt: object) -> None:
    [reject] = admin.get("/rejects", params={"receipt": str(receipt)}).json()["items"]
    admin.post(f"/rejects/{reject['id']}/redrive").raise_for_status()


def test_a_job_that_fails_in_an_unknown_way_is_sent_again_once_that_is_repaired(
    front: Front, queues: redis.Redis
) -> None:
    site_id, _ = front.site()
    with front.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE ingestion.sites RENAME COLUMN php_version TO mislaid"))
    queues.lpush(QUEUE, job(site_id, body([module("a")])))
    (drop,) = landed(front, count=1)
    assert (drop["state"], drop["errors"][0]["code"]) == ("failed", "processing_failed")
    with front.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE ingestion.sites RENAME COLUMN mislaid TO php_version"))
    with front.client() as admin:
        redriven(admin, drop["id"])
    wait_until(
        lambda: stored(front.engine, site_id).keys() == {"a"}, seconds=20, what="the job to be applied"
    )


def test_a_job_id_stands_for_one_request_of_its_site(front: Front, queues: redis.Redis) -> None:
    one, two = (front.site()[0] for _ in range(2))
    first, other = job(one, body([module("a")])), job(one, body([module("b")]))
    queues.lpush(QUEUE, first, job(two, body([module("a")])), first, other, other)
    at_rest(queues)
    mine, _, again = landed(front, count=3)
    assert (mine["state"], again["state"]) == ("done", "failed")
    assert again["errors"] == [{"code": "invalid", "reason": "the job_id was used before with other data"}]
    assert stored(front.engine, one).keys() == stored(front.engine, two).keys() == {"a"}
    told = status(queues, "one")
    assert told == {"status": "failed", "reason": again["errors"][0]["reason"], "receipt": str(again["id"])}


def test_a_job_may_be_called_anything(front: Front, queues: redis.Redis) -> None:
    site_id, _ = front.site()
    names = ["nul\0", "x" * 256, "", "mit Umläuten"]
    jobs = [job(site_id, body([module("a")]), job_id=name) for name in names]
    queues.lpush(QUEUE, *jobs, *jobs)
    at_rest(queues)
    assert [one["state"] for one in landed(front, count=len(names))] == ["done"] * len(names)
    assert [status(queues, name)["status"] for name in names if name] == ["landed"] * 3
