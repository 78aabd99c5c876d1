"""Pausing, resuming, cancelling over HTTP; progress as Server-Sent Events and over a WebSocket, in order and from where one was."""

import asyncio
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ingestion_assets.frontdoor.keys import create_key, find_keys, revoke_key
from ingestion_assets.frontdoor.open_streams import OpenStreams
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.tokens import digest
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, serving, settings_for
from ingestion_assets_tests.frontdoor.long_payloads import LongRun, land, lane_of, no_runs
from ingestion_assets_tests.servers import wait_until

RECEIPTS = "/api/v1/receipts"
HEADERS = {"X-API-Key": ADMIN_TOKEN}
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def nothing_waits(front: Front) -> Iterator[None]:
    """Payloads of the test alone, and no run but its own."""
    with no_runs(front):
        with front.engine.begin() as connection:
            for table in ("drops", "leases", "dispatches"):
                connection.execute(sa.text(f"DELETE FROM ingestion.{table}"))
        yield


@pytest.fixture
def drop(client: httpx.Client) -> UUID:
    return land(client)


@pytest.fixture
def run(front: Front, drop: UUID) -> LongRun:
    return LongRun(front.engine, lane_of(front.engine, drop))


class Events:
    """What an event stream says, as it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, dict[str, object]] | None:
        """Id and receipt of the next event; None at the end of the stream."""
        event: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line and name:
                event[name] = value
            elif not line and "data" in event:
                return event["id"], json.loads(event["data"])
        return None


@contextmanager
def following(client: httpx.Client, drop: UUID, **headers: str) -> Iterator[Events]:
    with client.stream("GET", f"{RECEIPTS}/{drop}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


def websocket(front: Front, path: str, **options: object) -> ClientConnection:
    address = front.url.replace("http://", "ws://")
    return connect(
        f"{address}{path}", **{"additional_headers": HEADERS, "open_timeout": PATIENCE_S, **options}
    )


def message(connection: ClientConnection) -> tuple[str, dict[str, object]]:
    said = json.loads(connection.recv(timeout=PATIENCE_S))
    return said["id"], said["receipt"]


def step_of(receipt: dict[str, object]) -> object:
    progress = receipt["progress"]
    return progress and progress["state"]["step"]  # type: ignore[index]


def test_pause_resume_and_cancel_reach_the_run(
    client: httpx.Client, drop: UUID, run: LongRun, front: Front
) -> None:
    paused = client.post(f"{RECEIPTS}/{drop}/pause")
    assert (paused.status_code, paused.json()["state"], paused.json()["wanted"]) == (202, "claimed", "pause")
    run.end(unfinished=True)
    held = client.get(f"{RECEIPTS}/{drop}").json()
    assert (held["state"], held["errors"][0]["code"]) == ("held", "paused")
    resumed = client.post(f"{RECEIPTS}/{drop}/resume")
    assert (resumed.status_code, resumed.json()["state"], resumed.json()["wanted"]) == (200, "landed", None)
    second = LongRun(front.engine, lane_of(front.engine, drop))
    assert client.post(f"{RECEIPTS}/{drop}/cancel").status_code == 202
    second.end(unfinished=True)
    cancelled = client.get(f"{RECEIPTS}/{drop}").json()
    assert (cancelled["state"], cancelled["errors"][0]["code"]) == ("failed", "cancelled")
    assert client.post(f"{RECEIPTS}/{drop}/cancel").status_code == 200
    for action in ("pause", "resume"):
        assert client.post(f"{RECEIPTS}/{drop}/{action}").status_code == 409


def test_what_has_landed_is_paused_and_cancelled_at_once(client: httpx.Client, drop: UUID) -> None:
    assert client.post(f"{RECEIPTS}/{drop}/pause").json()["state"] == "held"
    assert client.post(f"{RECEIPTS}/{drop}/cancel").json()["state"] == "failed"


def test_only_who_sent_a_payload_or_an_admin_changes_what_becomes_of_it(front: Front) -> None:
    own, other, reading = front.key("conversations"), front.key("conversations"), front.key("read")
    with front.client(own) as client:
        drop = land(client)
    for token, status in ((other, 404), (reading, 403), ("nonsense", 401)):
        with front.client(token) as client:
            assert client.post(f"{RECEIPTS}/{drop}/pause").status_code == status
    with front.client(own) as client:
        assert client.post(f"{RECEIPTS}/{drop}/pause").status_code == 200
    with front.client() as client:
        assert client.post(f"{RECEIPTS}/{drop}/resume").status_code == 200


def test_a_request_that_waits_is_answered_when_its_payload_is_cancelled(
    client: httpx.Client, drop: UUID, front: Front
) -> None:
    answers: list[httpx.Response] = []

    def wait() -> None:
        with front.client() as waiting:
            answers.append(waiting.get(f"{RECEIPTS}/{drop}", headers={"Prefer": "wait=60"}))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: front.app.door.finished.waiting == 1, seconds=PATIENCE_S, what="the request to wait")
    client.post(f"{RECEIPTS}/{drop}/cancel")
    thread.join(timeout=PATIENCE_S)
    assert answers[0].json()["errors"][0]["code"] == "cancelled"


def test_events_come_in_order_and_a_client_that_comes_again_goes_on(
    client: httpx.Client, drop: UUID, run: LongRun, front: Front
) -> None:
    with following(client, drop) as events:
        first = events.next()
        assert first is not None
        assert (first[1]["state"], first[1]["progress"]) == ("claimed", None)
        for step in (1, 2, 3):
            run.tell(drop, step)
            seen = events.next()
            assert seen is not None
            assert step_of(seen[1]) == step
    wait_until(
        lambda: front.app.door.streams.open == 0, seconds=PATIENCE_S, what="the stream to end with its client"
    )
    with following(client, drop, **{"Last-Event-ID": seen[0]}) as events:
        run.tell(drop, 4)
        after = events.next()
        assert after is not None
        assert step_of(after[1]) == 4  # and not 3 again
        run.end()
        last = events.next()
        assert last is not None
        assert (last[1]["state"], step_of(last[1])) == ("done", 4)
        assert events.next() is None
    assert client.get(f"{RECEIPTS}/{drop}/events", headers={"Last-Event-ID": last[0]}).status_code == 204
    with following(client, drop) as events:
        assert events.next() == last


def test_the_head_of_events_ends(client: httpx.Client, drop: UUID) -> None:
    head = client.head(f"{RECEIPTS}/{drop}/events", timeout=PATIENCE_S)
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def _one_key_leaves_streams_to_the_others() -> None:
    streams = OpenStreams(most=8)
    async with streams.one_more("one"), streams.one_more("one"):
        with pytest.raises(Problem) as refused:
            streams.check("one")
        assert refused.value.status == 429
        async with AsyncExitStack() as others:
            for number in range(6):
                await others.enter_async_context(streams.one_more(f"other {number}"))
            with pytest.raises(Problem) as refused:
                streams.check("late")
            assert refused.value.status == 503
    assert streams.open == 0
    streams.check("one")


def test_one_key_leaves_streams_to_the_others() -> None:
    asyncio.run(_one_key_leaves_streams_to_the_others())


def test_streams_end_with_their_api_key_alone(front: Front, drop: UUID) -> None:
    revoked, remade, kept = (front.key("read") for _ in range(3))
    names = {token: name_of(front, token) for token in (revoked, remade, kept)}
    with (
        front.client(revoked) as client,
        following(client, drop) as events,
        websocket(front, f"{RECEIPTS}/{drop}/events", additional_headers={"X-API-Key": remade}) as socket,
        websocket(front, f"{RECEIPTS}/{drop}/events", additional_headers={"X-API-Key": kept}) as others,
    ):
        assert events.next()
        message(socket)
        message(others)
        assert "ingestion_open_streams 3.0" in client.get("/metrics").text
        with front.engine.begin() as connection:
            revoke_key(connection, name_or_id=names[revoked])
            revoke_key(connection, name_or_id=names[remade])
            create_key(
                connection, name=names[remade], scopes=["read"], known=[]
            )  # another one of the same name
        assert events.next() is None
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1008
        assert "revoked" in closed.value.rcvd.reason
        assert "ingestion_open_streams 1.0" in front.client(None).get("/metrics").text
        others.ping().wait(PATIENCE_S)


def name_of(front: Front, token: str) -> str:
    with front.engine.connect() as connection:
        return find_keys(connection, [digest(token)])[digest(token)].name


def test_a_websocket_says_the_same(front: Front, drop: UUID, run: LongRun) -> None:
    with websocket(front, f"{RECEIPTS}/{drop}/events") as socket:
        assert message(socket)[1]["state"] == "claimed"
        run.tell(drop, 1)
        seen, receipt = message(socket)
        assert step_of(receipt) == 1
        socket.send("what a client says is passed over")
        run.tell(drop, 2)
        assert step_of(message(socket)[1]) == 2
    run.tell(drop, 3)
    with websocket(front, f"{RECEIPTS}/{drop}/events?last_event_id={seen}") as socket:
        assert step_of(message(socket)[1]) == 3
        run.end()
        assert message(socket)[1]["state"] == "done"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


def test_a_websocket_is_let_in_by_header_subprotocol_or_ticket(front: Front, drop: UUID) -> None:
    path = f"{RECEIPTS}/{drop}/events"
    token = front.key("read")
    bare = {"additional_headers": {}}
    for options in (
        {"additional_headers": {"Authorization": f"Bearer {token}"}},
        {"subprotocols": ["ingestion", f"ingestion.key.{token}"], **bare},
    ):
        with websocket(front, path, **options) as socket:
            assert message(socket)[1]["state"] == "landed"
            assert socket.subprotocol == ("ingestion" if "subprotocols" in options else None)
    with front.client(token) as client:
        answer = client.post("/api/v1/tickets")
    assert answer.status_code == 201
    ticket = answer.json()["ticket"]
    with websocket(front, f"{path}?ticket={ticket}", **bare) as socket:
        assert message(socket)[1]["state"] == "landed"
    for refused in (f"{path}?ticket={ticket}", path):  # used up; none
        with pytest.raises(InvalidStatus) as denied:
            websocket(front, refused, **bare)
        assert denied.value.response.status_code == 401
        assert json.loads(denied.value.response.body)["status"] == 401
    with front.client(None) as client, client.stream("GET", f"{path}?ticket={ticket}") as again:
        assert again.status_code == 401


def test_a_ticket_expires_and_opens_an_event_stream_too(
    front: Front, client: httpx.Client, drop: UUID
) -> None:
    tickets = [client.post("/api/v1/tickets").json()["ticket"] for _ in range(2)]
    with (
        front.client(None) as bare,
        bare.stream("GET", f"{RECEIPTS}/{drop}/events?ticket={tickets[0]}") as answer,
    ):
        assert answer.status_code == 200
    with front.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.tickets SET expires_at = now() - interval '1 second'"))
    with front.client(None) as bare:
        assert bare.get(f"{RECEIPTS}/{drop}/events?ticket={tickets[1]}").status_code == 401


@pytest.mark.parametrize(
    ("origin", "let_in"), [("own", True), ("https://elsewhere.example.com", False), ("null", False)]
)
def test_pages_of_other_sites_open_no_websocket(front: Front, drop: UUID, origin: str, let_in: bool) -> None:
    path = f"{RECEIPTS}/{drop}/events"
    given = front.url if origin == "own" else origin
    if let_in:
        with websocket(front, path, origin=given) as socket:
            assert message(socket)[1]["state"] == "landed"
    else:
        with pytest.raises(InvalidStatus) as denied:
            websocket(front, path, origin=given)
        assert denied.value.response.status_code == 403


def test_what_is_not_there_or_not_theirs_is_refused_at_the_handshake(front: Front, drop: UUID) -> None:
    other = {"additional_headers": {"X-API-Key": front.key("conversations")}}
    for path, options, status in (
        (f"{RECEIPTS}/{uuid.uuid4()}/events", {}, 404),
        (f"{RECEIPTS}/{drop}/events", other, 404),
        (f"{RECEIPTS}/{drop}/events?unknown=1", {}, 422),
        ("/api/v1/nothing", {}, 404),
    ):
        with pytest.raises(InvalidStatus) as denied:
            websocket(front, path, **options)
        assert denied.value.response.status_code == status, path
        assert denied.value.response.headers["x-request-id"]


def test_streams_are_bounded_in_number_and_closed_when_the_server_stops(
    fresh_postgres_url: str, tmp_path: Path
) -> None:
    settings = settings_for(home=tmp_path, postgres_url=fresh_postgres_url, max_streams=2)
    with serving(settings) as front, no_runs(front), front.client() as client:
        drop = land(client)
        path = f"{RECEIPTS}/{drop}/events"
        with websocket(front, path) as socket, following(client, drop) as events:
            assert message(socket)[1]["state"] == "landed"
            assert events.next() is not None
            with pytest.raises(InvalidStatus) as denied:
                websocket(front, path)
            assert denied.value.response.status_code == 503
            assert denied.value.response.headers["retry-after"]
            with front.client() as third:
                assert third.get(path).status_code == 503
                assert third.get(f"{RECEIPTS}/{drop}").status_code == 200
            front.app.door.stop_waiting()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            assert events.next() is None


def test_a_handshake_after_other_requests_on_the_connection(front: Front, drop: UUID) -> None:
    address = front.url.removeprefix("http://")
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET /health/live HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        assert b"200 OK" in _until(connection, b"}")
        connection.sendall(
            f"GET {RECEIPTS}/{drop}/events HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {ADMIN_TOKEN}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101 Switching Protocols" in _until(connection, b'"landed"')


def _until(connection: socket.socket, end: bytes) -> bytes:
    said = b""
    while end not in said:
        some = connection.recv(65536)
        assert some, said
        said += some
    return said
