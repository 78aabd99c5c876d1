"""What the flow does beside requests: jobs from Redis, webhooks, and the release feed; all against real servers."""

import asyncio
import hashlib
import hmac
import http.server
import ipaddress
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa

from ingestion_assets.modules import feed, queue_intake
from ingestion_assets.modules.feed import Feed, Question, ask_all, due
from ingestion_assets.modules.queue_intake import DEAD, LATER, QUEUE, TAKEN, TRIES
from ingestion_assets.modules.webhook_addresses import (
    Allowed,
    ForbiddenAddressError,
    allowed_by,
    check_address,
    is_public,
)
from ingestion_assets.modules.webhooks import announce, end, take_due
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import sealer
from ingestion_assets_tests.modules.front import Front, serving
from ingestion_assets_tests.modules.replay import body, make_site, module
from ingestion_assets_tests.servers import wait_until


@contextmanager
def listening(answer: Any) -> Iterator[str]:
    """A web server that `answer(handler)` speaks for; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def front(fresh_postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    changes: dict[str, Any] = {"redis_url": redis_url, "webhooks_allow_private": True}
    with serving(home=tmp_path, postgres_url=fresh_postgres_url, **changes) as running:
        yield running


def statuses(front: Front, site_id: int) -> list[str]:
    with front.engine.connect() as connection:
        query = sa.text(
            "SELECT state FROM ingestion.drops WHERE flow = 'modules' AND partition = :site ORDER BY id"
        )
        return list(connection.scalars(query, {"site": str(site_id)}))


def test_jobs_of_the_queue_land_once(front: Front, redis_url: str) -> None:
    site_id, _ = front.site()
    job = {"job_id": f"job_{site_id}_1", "site_id": site_id, "data": body([module("a")]), "status": "pending"}
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(f"{TAKEN}:killed", json.dumps(job))  # a consumer was killed with this in hand
        client.lpush(QUEUE, json.dumps(job), "not json", json.dumps(job | {"job_id": "x", "site_id": 9999}))
        wait_until(
            lambda: client.llen(DEAD) == 2 and statuses(front, site_id) == ["done"],
            seconds=20,
            what="jobs to land",
        )
        wait_until(lambda: not client.keys(f"{TAKEN}:*"), seconds=20, what="lists of taken jobs to be empty")
        status = json.loads(client.get(f"job_status:job_{site_id}_1") or b"")
        assert status["status"] == "landed"
        assert client.llen(QUEUE) == 0
    assert statuses(front, site_id) == ["done"]


@pytest.mark.parametrize(
    ("job_id", "data"),
    [
        (rb"nul\u0000", body([module("a")])),
        (b"\xff", body([module("a")])),
        (b"x" * 256, body([module("a")])),
        (b"deep", "DEEP"),
    ],
)
def test_a_bad_job_is_refused_and_the_next_one_lands(
    front: Front, redis_url: str, job_id: bytes, data: Any
) -> None:
    site_id, _ = front.site()
    good = json.dumps({"job_id": "good", "site_id": site_id, "data": body([module("a")])})
    inner = json.dumps(data).encode().replace(b'"DEEP"', b"[" * 5000 + b"]" * 5000)
    bad = b'{"site_id": %d, "job_id": "%s", "data": %s}' % (site_id, job_id, inner)
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(QUEUE, bad, good)
        wait_until(lambda: client.exists("job_status:good"), seconds=10, what="the good job to land")
        assert client.lrange(DEAD, 0, -1) == [bad]
        told = [json.loads(client.get(key) or b"")["status"] for key in client.keys("job_status:*")]
        assert sorted(told) == ["failed", "landed"]


@pytest.mark.parametrize("repaired", [True, False], ids=["repaired in time", "never repaired"])
def test_a_job_that_fails_in_an_unknown_way_comes_again_and_then_is_set_aside(
    front: Front, redis_url: str, monkeypatch: pytest.MonkeyPatch, repaired: bool
) -> None:
    monkeypatch.setattr(queue_intake, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(queue_intake, "POLL_S", 0.1)
    (site_id, _), (other, _) = front.site(), front.site()
    first, behind = [
        json.dumps({"job_id": f"of {one}".replace(" ", "-"), "site_id": one, "data": body([module("a")])})
        for one in (site_id, other)
    ]
    with front.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE ingestion.sites RENAME COLUMN active TO mislaid"))
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(QUEUE, first, behind)
        wait_until(
            lambda: all(int(n) >= 2 for n in client.hvals(TRIES)) and client.hlen(TRIES) == 2,
            seconds=10, what="both to be tried again, neither before the other",
        )  # fmt: skip
        if repaired:
            with front.engine.begin() as connection:
                connection.execute(sa.text("ALTER TABLE ingestion.sites RENAME COLUMN mislaid TO active"))
        wanted = "landed" if repaired else "failed"
        names = [f"job_status:of-{one}" for one in (site_id, other)]
        wait_until(lambda: all(client.mget(names)), seconds=10, what="an outcome of both")
        assert [json.loads(told or b"")["status"] for told in client.mget(names)] == [wanted, wanted]
        assert client.llen(DEAD) == (0 if repaired else 2), "nothing is lost"
        wait_until(
            lambda: not client.zcard(LATER) and not client.keys(f"{TAKEN}:*"),
            seconds=10,
            what="both to be gone",
        )
    if not repaired:
        with front.engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT outcome, status FROM ingestion.module_sync_attempts WHERE site_id = :id"),
                {"id": site_id},
            ).all()
        assert [tuple(row) for row in found] == [("failed", 500)]


def test_a_job_id_counts_for_its_site_alone(front: Front, redis_url: str) -> None:
    sites = [front.site()[0] for _ in range(2)]
    jobs = [json.dumps({"job_id": "same", "site_id": one, "data": body([module("a")])}) for one in sites]
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(QUEUE, *jobs, *jobs)
        wait_until(
            lambda: not client.llen(QUEUE) and not client.keys(f"{TAKEN}:*"), seconds=10, what="jobs to land"
        )
    for one in sites:
        wait_until(lambda one=one: statuses(front, one) == ["done"], seconds=10, what="its one sync")


def test_webhooks_are_signed_and_retried(front: Front) -> None:
    heard: list[tuple[dict[str, str], bytes]] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        heard.append((dict(handler.headers), content))
        handler.send_response(500 if len(heard) == 1 else 204)
        handler.end_headers()

    with listening(answer) as url, front.client() as admin:
        made = admin.post("/sites", json={"name": "hooked", "webhook_url": f"{url}/hook"}).json()
        result = admin.post(f"/sites/{made['id']}/modules/sync", json=body([module("a")])).json()
        wait_until(lambda: len(heard) == 2, seconds=20, what="the webhook to be called again")
    with front.engine.connect() as connection:
        kept = connection.scalar(
            sa.text("SELECT webhook_secret FROM ingestion.sites WHERE id = :id"), {"id": made["id"]}
        )
    assert made["webhook_secret"] not in kept
    assert sealer(front.settings).open(kept) == made["webhook_secret"]
    for headers, content in heard:
        at, _, signed = headers["Webhook-Signature"].removeprefix("t=").partition(",v1=")
        expected = hmac.new(
            made["webhook_secret"].encode(), at.encode() + b"." + content, hashlib.sha256
        ).hexdigest()
        assert signed == expected
    assert json.loads(heard[1][1])["data"]["sync_id"] == result["sync_id"]
    assert heard[0][0]["Webhook-Id"] == heard[1][0]["Webhook-Id"]


def test_a_host_of_other_letters_is_called_by_its_ascii_name(front: Front) -> None:
    heard: list[str] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers["Host"])
        handler.send_response(204)
        handler.end_headers()

    with listening(answer) as url:
        site_id, key = front.site(webhook_url=url.replace("127", "\uff11\uff12\uff17"))
        with front.client(key) as client:
            client.post(f"/sites/{site_id}/modules/sync", json=body([module("a")])).raise_for_status()
        wait_until(lambda: heard, seconds=20, what="the webhook to be called")
    assert heard == [url.removeprefix("http://")]


def test_an_address_that_can_be_none_fails_like_any_other(front: Front) -> None:
    site_id, key = front.site(webhook_url="http://example.com/")
    with front.engine.begin() as connection:  # as one that was taken before it was refused
        wrong = sa.text(
            "UPDATE ingestion.sites SET webhook_url = 'http://hooks..example.com/' WHERE id = :id"
        )
        connection.execute(wrong, {"id": site_id})
    with front.client(key) as client:
        client.post(f"/sites/{site_id}/modules/sync", json=body([module("a")])).raise_for_status()
    wait_until(lambda: "needs a host" in (webhook_error(front) or ""), seconds=20, what="the call to fail")


def webhook_error(front: Front) -> str | None:
    with front.engine.connect() as connection:
        return connection.scalar(sa.text("SELECT error FROM ingestion.module_webhooks"))


def test_who_stood_still_meanwhile_says_nothing_of_a_later_try(engine: sa.Engine) -> None:
    site_id = make_site(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.sites SET webhook_url = 'x', webhook_secret = 'x'"))
        announce(connection, site_id=site_id, sync_id=uuid4(), result={})
    (slow,) = take_due(engine)
    with engine.begin() as connection:  # its time is up
        connection.execute(sa.text("UPDATE ingestion.module_webhooks SET try_after = clock_timestamp()"))
    (quick,) = take_due(engine)
    told = sa.text("SELECT state, attempts, error FROM ingestion.module_webhooks")
    for late in (lambda: end(engine, slow, error="it answered 500"), lambda: end(engine, slow, error=None)):
        late()
        with engine.connect() as connection:
            assert tuple(connection.execute(told).one()) == ("waiting", 2, None)
    end(engine, quick, error=None)
    end(engine, quick, error="it answered 500")
    with engine.connect() as connection:
        assert tuple(connection.execute(told).one()) == ("delivered", 2, None)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks..example.com/x",
        "http://[zz]/",
        "http://h:99999/",
        "file:///etc/passwd",
        "https://u:p@h/",
    ],
)
def test_what_can_be_no_address_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        asyncio.run(check_address(url, Allowed(everything=True)))


def test_named_hosts_and_networks_may_be_called() -> None:
    settings = Settings(_env_file=None, webhooks_allowed="localhost, 127.8.0.0/16,::1", home=Path())  # pyright: ignore[reportCallIssue]
    for url, may in (
        ("http://localhost/", True), ("http://127.8.1.1/", True), ("http://[::ffff:127.8.1.1]/", True), ("http://[::1]/", True),
        ("http://127.9.0.1/", False), ("http://10.0.0.1/", False),
    ):  # fmt: skip
        try:
            asyncio.run(check_address(url, allowed_by(settings)))
        except ForbiddenAddressError:
            assert not may, url
        else:
            assert may, url
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        Settings(_env_file=None, webhooks_allowed="10.0.0.0/99")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("address", "public"),
    [("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("::1", False), ("::ffff:10.0.0.1", False),
     ("64:ff9b::7f00:1", False), ("::7f00:1", False), ("fec0::1", False), ("2002:a00:1::1", False), ("168.63.129.16", False),
     ("255.255.255.255", False), ("ff02::1", False), ("100.100.100.200", False), ("64:ff9b::5db8:d822", True), ("fd00::1", False), ("224.0.0.1", False), ("100.64.0.1", False),
     ("93.184.216.34", True), ("2606:2800:220:1::1", True)],
)  # fmt: skip
def test_private_addresses_are_not_called(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) == public


def test_a_name_that_comes_to_mean_a_private_address_is_not_called(
    fresh_postgres_url: str, tmp_path: Path
) -> None:
    heard: list[int] = []
    with (
        listening(lambda _: heard.append(1)) as url,
        serving(home=tmp_path, postgres_url=fresh_postgres_url) as front,
        front.client() as admin,
    ):
        made = admin.post(
            "/sites", json={"name": "hooked", "webhook_url": "https://hooks.example.com/"}
        ).json()
        with front.engine.begin() as connection:  # as if the name stood for another address by now
            moved = sa.text("UPDATE ingestion.sites SET webhook_url = :url WHERE id = :id")
            connection.execute(moved, {"url": url, "id": made["id"]})
        admin.post(f"/sites/{made['id']}/modules/sync", json=body([module("a")]))
        wait_until(lambda: webhook_error(front) is not None, seconds=20, what="the webhook to be refused")
        assert "private" in str(webhook_error(front))
        assert (
            admin.post("/sites", json={"name": "x", "webhook_url": "file:///etc/passwd"}).status_code == 422
        )
    assert heard == []


def test_the_feed_is_asked_conditionally_and_lives_without_it(engine: sa.Engine, shared_data: Path) -> None:
    fixtures = shared_data / "modules" / "release-history"
    asked: list[tuple[str, str | None]] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        project = handler.path.split("/")[1]
        asked.append((project, handler.headers.get("If-None-Match")))
        if handler.headers.get("If-None-Match") == '"1"':
            handler.send_response(304)
            handler.end_headers()
            return
        name = (
            "aaa_update_test.sec.8.x-1.2.xml"
            if project == "aaa_update_test"
            else "aaa_update_test.no-releases.xml"
        )
        content = (fixtures / name).read_bytes()
        handler.send_response(200)
        handler.send_header("ETag", '"1"')
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO ingestion.module_projects (project) VALUES ('aaa_update_test'), ('other')")
        )
    with listening(answer) as url:
        source = Feed(base_url=url, per_second=100)
        first = ask_all(engine, due(engine, limit=10), ask=source.ask)
        assert (first.asked, first.changed, first.unknown, first.failed) == (2, 1, 1, {})
        assert list(due(engine, limit=10)) == []
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE ingestion.module_projects SET ask_after = '-infinity' WHERE known")
            )
        second = ask_all(engine, due(engine, limit=10), ask=source.ask)
        assert (second.asked, second.unmodified) == (1, 1)
        assert asked[-1] == ("aaa_update_test", '"1"')
        source.close()
    with engine.begin() as connection:
        before = feed.state(connection).newest_answer
        connection.execute(sa.text("UPDATE ingestion.module_projects SET ask_after = '-infinity'"))
    gone = Feed(base_url=url, per_second=100)
    third = ask_all(engine, [Question("aaa_update_test", '"1"', None)], ask=gone.ask)
    gone.close()
    assert set(third.failed) == {"aaa_update_test"}
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ingestion.module_releases")) == 3
        assert feed.state(connection).newest_answer == before
