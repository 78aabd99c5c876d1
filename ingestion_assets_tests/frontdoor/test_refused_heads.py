"""What HTTP/1.1 forbids (RFC 9112) is refused, in the form of every error, and nothing after it is taken for a request."""

import json
import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, serving, settings_for
from ingestion_assets_tests.servers import wait_until

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n%b\r\n"
NEXT = GET % b""
BODY = b'{"messages":[{"type":"user"}]}'
POST = b"POST /api/v1/ingest/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: %b\r\nPrefer: respond-async\r\n" % ADMIN_TOKEN.encode()  # fmt: skip
CHUNKED = b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


@pytest.fixture
def connection(front: Front) -> Iterator[socket.socket]:
    host, _, port = front.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connected:
        yield connected


def heard(connection: socket.socket) -> bytes:
    """All that is said until the connection ends."""
    text = b""
    while piece := connection.recv(65536):
        text += piece
    return text


def statuses(text: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", text)]


REFUSED = {
    "no Host": (400, b"GET /health/live HTTP/1.1\r\nA: b\r\n\r\n"),
    "two Hosts": (400, GET % b"Host: x\r\n"),
    "two other Hosts": (400, GET % b"hOST: y\r\n"),
    "two Hosts, HTTP/1.0": (400, (GET % b"Host: y\r\n").replace(b"/1.1", b"/1.0")),
    "a list of Hosts": (400, NEXT.replace(b": x", b": x, y")),
    "Host with a path": (400, NEXT.replace(b": x", b": x/y")),
    "Host with a user": (400, NEXT.replace(b": x", b": u@x")),
    "Host with a port that is none": (400, NEXT.replace(b": x", b": x:8o")),
    "identity, then chunked": (400, POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n" + CHUNKED),
    "identity, chunked": (400, POST + b"Transfer-Encoding: identity, chunked\r\n" + CHUNKED),
    "identity alone": (400, POST + b"Transfer-Encoding: identity\r\n" + CHUNKED),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + CHUNKED),
    "chunked, then more": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n" + CHUNKED),
    "chunked in HTTP/1.0": (400, POST.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n" + CHUNKED),
    "a coding that is not taken": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n" + CHUNKED),
    "length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + CHUNKED),
    "chunked and length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" + CHUNKED),
    "two lengths": (400, POST + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY),
    "a length with a sign": (400, POST + LENGTH.replace(b": ", b": +") + b"\r\n" + BODY),
    "a folded line": (400, GET % b"A: b\r\n c\r\n"),
    "a folded first line": (400, b"GET /health/live HTTP/1.1\r\n Host: x\r\n\r\n"),
    "a bare LF": (400, GET % b"A: b\nC: d\r\n"),
    "a bare CR": (400, GET % b"A: b\rC: d\r\n"),
    "a NUL": (400, GET % b"A: b\0\r\n"),
    "a space before the colon": (400, GET % b"A : b\r\n"),
    "no name": (400, GET % b": b\r\n"),
    "no colon": (400, GET % b"Abc\r\n"),
    "a space in the target": (400, NEXT.replace(b"/live", b"/li ve")),
    "a target that is none": (400, NEXT.replace(b"/health", b"health")),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "an unknown method": (501, NEXT.replace(b"GET", b"BREW")),
    "a tunnel": (501, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
    "HTTP/1.2": (505, NEXT.replace(b"/1.1", b"/1.2")),
    "HTTP/2.0": (505, NEXT.replace(b"/1.1", b"/2.0")),
    "HTTP/2 at once": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a long target": (414, NEXT.replace(b"/live", b"/live" + b"x" * 70_000)),
    "a long header": (431, GET % (b"A: %b\r\n" % (b"x" * 70_000))),
    "a chunk without size": (400, POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a chunk with bare LF": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1\n1\n0\n\n"),
    "endless trailers": (431, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 100_000),
    "an endless trailer": (431, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 1_000_000),
}  # fmt: skip


@pytest.mark.parametrize("before", [b"", NEXT, POST + LENGTH + b"\r\n" + BODY], ids=["first", "second", "after-a-payload"])  # fmt: skip
@pytest.mark.parametrize(("status", "request_"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_forbidden_is_refused(
    connection: socket.socket, status: int, request_: bytes, before: bytes
) -> None:
    connection.sendall(before + request_ + NEXT)
    text = heard(connection)
    assert statuses(text)[:-1] == ([] if not before else [200] if before == NEXT else [202])
    head, _, body = text[text.rindex(b"HTTP/1.1 %d " % status) :].partition(b"\r\n\r\n")
    for line in (
        b"content-type: application/problem+json", b"connection: close", b"x-content-type-options: nosniff",
        b"cache-control: no-store", b"x-request-id: ", b"content-length: %d" % len(body),
    ):  # fmt: skip
        assert line in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["detail"].endswith(".")


def test_refusals_are_counted(connection: socket.socket, client: httpx.Client) -> None:
    connection.sendall(b"GET /health/live HTTP/1.1\r\n\r\n")
    heard(connection)
    text = client.get("/metrics").text
    assert 'ingestion_http_requests_total{method="GET",path="unmatched",status="400"}' in text


@pytest.mark.parametrize(
    "host",
    [
        b"example.com",
        b"example.com:8080",
        b"127.0.0.1",
        b"[::1]:80",
        b"[fe80::1]",
        b"a_b.internal",
        b"x:",
        b"",
    ],
)
def test_hosts(connection: socket.socket, host: bytes) -> None:
    connection.sendall(GET.replace(b": x", b": " + host) % b"Connection: close\r\n")
    assert statuses(heard(connection)) == [200]


def test_http_1_0_needs_no_host(connection: socket.socket) -> None:
    connection.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
    assert statuses(heard(connection)) == [200]


def test_a_wish_for_another_protocol_is_passed_over(connection: socket.socket) -> None:
    """As `curl --http2` sends it."""
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    connection.sendall(POST + wish + LENGTH + b"\r\n" + BODY + GET % wish + GET % b"Connection: close\r\n")
    text = heard(connection)
    assert statuses(text) == [202, 200, 200]
    assert b'"records":1' in text


def test_trailers_are_no_headers(connection: socket.socket) -> None:
    keyless = re.sub(rb"X-API-Key: [^\r]*\r\n", b"", POST)
    body = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    connection.sendall(
        keyless + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        + b"X-API-Key: %b\r\n\r\n" % ADMIN_TOKEN.encode()
    )  # fmt: skip
    assert statuses(heard(connection)) == [401]


@pytest.fixture(scope="module")
def small(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front door that takes bodies of a megabyte."""
    settings = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url, max_body_bytes=2**20)  # fmt: skip
    with serving(settings) as running:
        yield running


@pytest.mark.parametrize("path", ["/api/v1/ingest/batch", "/ingest/batch"], ids=["direct", "routed"])
@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunked"])
def test_a_413_reaches_a_client_that_writes_all_of_its_body_first(
    small: Front, path: str, *, announced: bool
) -> None:
    host, _, port = small.url.removeprefix("http://").partition(":")
    kind = b"application/json" if "v1" in path else b"text/plain"
    head = POST.replace(b"/api/v1/ingest/batch", path.encode()).replace(b"application/json", kind)
    size = 6 * 2**20
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head + (b"Content-Length: %d\r\n\r\n" % size if announced else b"Transfer-Encoding: chunked\r\n\r\n"))  # fmt: skip
        piece = b"x" * 65536
        for _ in range(size // len(piece)):
            connection.sendall(piece if announced else b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(0.002)  # a network's pace: the answer is there long before the end
        if not announced:
            connection.sendall(b"0\r\n\r\n")
        text = heard(connection)
    assert statuses(text) == [413]
    assert text.endswith(b"}")


def test_no_more_than_so_much_is_read_after_the_answer(small: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion_assets.frontdoor.lingering.MOST_BYTES", 2**20)
    host, _, port = small.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % 2**40)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            while True:
                connection.sendall(b"x" * 65536)


def test_a_client_that_goes_silent_after_the_answer_is_let_go(
    small: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion_assets.frontdoor.lingering.SILENCE_S", 0.3)
    host, _, port = small.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % 2**40)
        assert statuses(heard(connection)) == [413]
        time.sleep(1)

        def reset() -> bool:
            try:
                connection.sendall(b"x")
            except OSError:
                return True
            return False

        wait_until(reset, seconds=5, what="the connection to be closed")
