"""Connections byte by byte: heads in pieces, several requests at once, heads that are too slow or too large."""

import gzip
import socket
import time
from collections.abc import Iterator

import pytest

from ingestion_assets.frontdoor import protocol
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front

BODY = b'{"messages":[{"type":"user","uuid":"u"}]}'
REQUEST = (
    b"POST /api/v1/ingest/batch HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Type: application/json\r\n"
    b"Prefer: respond-async\r\nX-Request-Id: %%b\r\nContent-Length: %d\r\n\r\n%b"
) % (ADMIN_TOKEN.encode(), len(BODY), BODY)
IMPATIENT_S = 0.5


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", IMPATIENT_S)


@pytest.fixture
def connection(front: Front) -> Iterator[socket.socket]:
    host, _, port = front.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connected:
        yield connected


def heard(connection: socket.socket, *, answers: int = 10**6) -> bytes:
    """What is said until so many answers are there, or the connection ends."""
    text = b""
    while text.count(b"HTTP/1.1 ") < answers or not text.endswith(b"}"):
        piece = connection.recv(65536)
        if not piece:
            break
        text += piece
    return text


def test_requests_sent_at_once_are_answered_in_their_order(connection: socket.socket) -> None:
    connection.sendall(b"".join(REQUEST % b"request-%d" % number for number in range(20)))
    text = heard(connection, answers=20)
    assert text.count(b"HTTP/1.1 202 ") == 20
    places = [text.index(b"x-request-id: request-%d\r\n" % number) for number in range(20)]
    assert places == sorted(places)


def test_a_request_may_come_in_any_pieces(connection: socket.socket) -> None:
    whole = REQUEST % b"in-pieces"
    for size in (1, 7, 100):
        for start in range(0, len(whole), size):
            connection.sendall(whole[start : start + size])
        assert b"HTTP/1.1 202 " in heard(connection, answers=1)


@pytest.mark.parametrize(
    "head",
    [
        b"X-Large: " + b"x" * protocol.HEAD_BYTES + b"\r\n",
        b"X-Line: x\r\n" * protocol.HEAD_LINES,
        b"X-Lines: " + b"\r\nX-Large: ".join([b"x" * 1000] * 100) + b"\r\n",
    ],
    ids=["one-line", "many-lines", "many-bytes"],
)
@pytest.mark.parametrize("before", [b"", REQUEST % b"before"], ids=["first", "after-another"])
def test_a_head_that_is_too_large_is_refused(connection: socket.socket, head: bytes, before: bytes) -> None:
    connection.sendall(before)
    if before:
        heard(connection, answers=1)
    connection.sendall((REQUEST % b"large").replace(b"Host: x\r\n", b"Host: x\r\n" + head))
    assert heard(connection).startswith(b"HTTP/1.1 431 ")


def test_a_head_that_does_not_end_is_refused(connection: socket.socket) -> None:
    connection.sendall(REQUEST % b"before" + b"GET / HTTP/1.1\r\nX-Large: ")
    heard(connection, answers=1)
    connection.sendall(b"x" * (protocol.HEAD_BYTES + 1))
    assert heard(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("before", [b"", REQUEST % b"before"], ids=["first", "after-another"])
@pytest.mark.usefixtures("impatient")
def test_a_head_that_takes_too_long_is_cut_off(connection: socket.socket, before: bytes) -> None:
    if before:  # a head that was in time and a pause between requests cut off nothing
        connection.sendall(before)
        heard(connection, answers=1)
        time.sleep(2 * IMPATIENT_S)
    connection.sendall(b"GET / HTTP/1.1\r\n")
    began = time.monotonic()
    assert heard(connection).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 2 * IMPATIENT_S


def test_a_connection_that_stays_silent_is_closed(connection: socket.socket) -> None:
    """uvicorn's own limit is 5 s; each answer begins it anew."""
    for _ in range(2):
        connection.sendall(REQUEST % b"once")
        assert b"HTTP/1.1 202 " in heard(connection, answers=1)
        answered = time.monotonic()
        time.sleep(1)
    assert heard(connection) == b""
    assert 4.5 < time.monotonic() - answered < 7


def test_an_answer_to_a_connection_that_ends_says_so(connection: socket.socket) -> None:
    connection.sendall(REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close") % b"last")
    text = heard(connection)
    assert b"HTTP/1.1 202 " in text
    assert b"connection: close\r\n" in text
    assert text.endswith(b"}")


def test_an_answer_that_ends_the_connection_says_so_once(connection: socket.socket) -> None:
    """A body that swells beyond the limit has arrived whole."""
    swollen = gzip.compress(b" " * (300 * 2**20), 1)
    head = REQUEST[: REQUEST.index(b"Content-Length")] % b"swollen"
    connection.sendall(
        head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(swollen) + swollen
    )
    text = heard(connection)
    assert text.startswith(b"HTTP/1.1 413 ")
    assert text.lower().count(b"connection: close") == 1
