"""What the flow does beside requests: webhooks and the release feed, against real servers."""

import asyncio
import base64
import contextlib
import http.server
import ipaddress
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from ingestion_assets.modules import feed
from ingestion_assets.modules.feed import Feed, Question, ask_all, due
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.modules.web import webhook_delivery
from ingestion_assets.modules.web.webhook_delivery import signed
from ingestion_assets.modules.webhook_addresses import (
    Allowed,
    ForbiddenAddressError,
    allowed_by,
    check_address,
    is_public,
)
from ingestion_assets.modules.webhooks import Call, announce, end, take_due
from ingestion_assets.settings import wrong_settings
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
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def front(fresh_postgres_url: str, tmp_path: Path) -> Iterator[Front]:
    with serving(home=tmp_path, postgres_url=fresh_postgres_url, webhooks_allow_private=True) as running:
        yield running


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
    receiver = Webhook(made["webhook_secret"])
    for headers, content in heard:
        told = receiver.verify(content, headers)
        assert (told["type"], told["data"]) == ("modules.synced", result)
        assert datetime.fromisoformat(told["timestamp"]) <= datetime.now(UTC) + timedelta(seconds=5)
        with pytest.raises(WebhookVerificationError):
            receiver.verify(content + b" ", headers)
    assert heard[0][0]["webhook-id"] == heard[1][0]["webhook-id"] == result["sync_id"].removeprefix("sync_")


def test_a_secret_from_before_the_format_still_signs() -> None:
    call = Call(sync_id=uuid4(), body="{}", attempts=1, url="", sealed="")
    headers = signed(call, secret="an old one", at=int(time.time()))
    Webhook(base64.b64encode(b"an old one").decode()).verify(call.body, headers)


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


def test_a_receiver_that_takes_its_time_holds_up_no_other(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_delivery, "TIMEOUT_S", 1)
    heard: list[str] = []
    over = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(OSError):
            while not over.wait(0.2):
                handler.wfile.write(b"a")

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        heard.append(handler.path)
        handler.send_response(204)
        handler.end_headers()

    with listening(drip) as slow, listening(answer) as quick:
        for url in (f"{slow}/slow", f"{quick}/quick"):
            site_id, key = front.site(webhook_url=url)
            with front.client(key) as client:
                client.post(f"/sites/{site_id}/modules/sync", json=body([module("a")])).raise_for_status()
        wait_until(lambda: heard, seconds=20, what="the other webhook to be called")
        wait_until(
            lambda: _errors(front) == ["there was no answer within 1 s"], seconds=20, what="it to fail"
        )
        over.set()


def _errors(front: Front) -> list[str]:
    with front.engine.connect() as connection:
        return list(
            connection.scalars(sa.text("SELECT error FROM ingestion.module_webhooks WHERE error IS NOT NULL"))
        )


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
        announce(connection, site_id=site_id, sync_id=uuid4(), result={}, at=datetime.now(UTC))
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
    settings = ModulesSettings(_env_file=None, webhooks_allowed="localhost, 127.8.0.0/16,::1")  # pyright: ignore[reportCallIssue]
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
        ModulesSettings(_env_file=None, webhooks_allowed="10.0.0.0/99")  # pyright: ignore[reportCallIssue]


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


def test_a_wrong_setting_of_the_flow_stops_the_start(fresh_postgres_url: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ValidationError) as wrong,
        serving(home=tmp_path, postgres_url=fresh_postgres_url, sync_queue_threshold=-1),
    ):
        pass
    told = wrong_settings(wrong.value)
    assert told == "INGESTION_SYNC_QUEUE_THRESHOLD: Input should be greater than or equal to 0"
