"""Bombs, slow and half-sent bodies, endless headers: answered or cut off, in bounded memory."""

import gzip
import io
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import zstandard

from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, process
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
LIMIT_MB = 320
HEADERS = {"X-API-Key": ADMIN_TOKEN, "Content-Type": "application/json"}


class Victim:
    """The process under attack, and the most memory it was seen to hold."""

    def __init__(self, pid: int, url: str) -> None:
        self.url = url
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)
        self._process = psutil.Process(pid)
        self.peak_mb = 0.0

    def look(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self.peak_mb = int(peak.split()[1]) / 1024
        return self.peak_mb

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=10)

    def head(self, length: int | str, *extra: str) -> bytes:
        lines = [
            f"POST {BATCH} HTTP/1.1",
            "Host: x",
            f"X-API-Key: {ADMIN_TOKEN}",
            "Content-Type: application/json",
            *extra,
        ]
        return ("\r\n".join([*lines, f"Content-Length: {length}"]) + "\r\n\r\n").encode()


@pytest.fixture(scope="module")
def victim(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    home = tmp_path_factory.mktemp("victim")
    with process(home=home, postgres_url=postgres_url, INGESTION_BODY_TIMEOUT_S="2") as (child, url):
        victim = Victim(child.pid, url)
        yield victim
        assert victim.look() < LIMIT_MB, f"the front door held {victim.peak_mb:.0f} MB at most"
        assert child.poll() is None


def gzip_bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(megabytes)), packer.flush()])


def zstd_bomb(megabytes: int) -> bytes:
    target = io.BytesIO()
    with zstandard.ZstdCompressor(level=3).stream_writer(target, closefd=False) as writer:
        for _ in range(megabytes):
            writer.write(bytes(2**20))
    return target.getvalue()


@pytest.mark.parametrize(
    ("coding", "make"),
    [
        ("gzip", lambda: gzip_bomb(2000)),
        ("zstd", lambda: zstd_bomb(8000)),
        ("gzip", lambda: gzip.compress(gzip_bomb(500))),
    ],
    ids=["gzip", "zstd", "gzip in gzip"],
)
def test_bombs_are_cut_off(victim: Victim, coding: str, make: Callable[[], bytes]) -> None:
    bomb = make()
    statuses: list[int] = []

    def attack() -> None:
        headers = {**HEADERS, "Content-Encoding": coding}
        statuses.append(
            httpx.post(f"{victim.url}{BATCH}", content=bomb, headers=headers, timeout=60).status_code
        )

    threads = [threading.Thread(target=attack) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {400, 413, 503}
    assert len(statuses) == 3
    assert victim.look() < LIMIT_MB


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 20_000_000,
        b'{"a":' * 4_000_000,
        b'{"messages":[' + b"1," * 20_000_000 + b"1]}",
        b'{"todos":[' + b"{}," * 10_000_000 + b"{}]}",
        b'{"config":{"config":{' + b'"a":1,' * 5_000_000 + b'"b":2}}}',
        b'{"messages":[' + b'{"type":"user"},' * 3_000_000 + b"1]}",
    ],
    ids=["arrays", "objects", "numbers", "todos", "config", "messages"],
)
def test_json_bombs_cost_little(victim: Victim, body: bytes) -> None:
    with zstandard.ZstdCompressor().stream_reader(body) as packed:
        answer = httpx.post(
            f"{victim.url}{BATCH}",
            content=packed.read(),
            headers={**HEADERS, "Content-Encoding": "zstd", "Prefer": "respond-async"},
            timeout=60,
        )
    assert answer.status_code in (202, 400, 413, 422), answer.text[:300]
    assert victim.look() < LIMIT_MB


def test_announced_too_large_is_refused_unread(victim: Victim) -> None:
    with victim.connect() as connection:
        connection.sendall(victim.head(10**12))
        assert b" 413 " in connection.recv(4096)


def test_a_body_that_stops_is_408(victim: Victim) -> None:
    with victim.connect() as connection:
        connection.sendall(victim.head(1000) + b'{"messages":')
        started = time.monotonic()
        assert b" 408 " in connection.recv(4096)
        assert 1.5 < time.monotonic() - started < 8


def test_a_body_that_trickles_is_408(victim: Victim) -> None:
    with victim.connect() as connection:
        connection.sendall(victim.head(10_000))
        connection.settimeout(0.3)
        answer = b""
        for _ in range(30):
            connection.sendall(b" ")
            try:
                answer = connection.recv(4096)
                break
            except TimeoutError:
                continue
        assert b" 408 " in answer


def test_half_sent_bodies_are_forgotten(victim: Victim) -> None:
    for _ in range(50):
        with victim.connect() as connection:
            connection.sendall(victim.head(1_000_000) + b"x" * 200_000)

    def inflight() -> float:
        text = httpx.get(f"{victim.url}/metrics").text
        return float(
            next(line for line in text.splitlines() if line.startswith("ingestion_inflight_bytes")).split()[1]
        )

    wait_until(lambda: inflight() == 0, seconds=10, what="the memory of half-sent bodies to be given back")


def test_many_slow_clients_leave_room_for_others(victim: Victim) -> None:
    slow = [victim.connect() for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(victim.head(60_000_000) + b"x" * 60_000)
        answer = httpx.post(
            f"{victim.url}{BATCH}", json={"messages": [1]}, headers={"X-API-Key": ADMIN_TOKEN}, timeout=10
        )
        assert answer.status_code == 200
        assert victim.look() < LIMIT_MB
    finally:
        for connection in slow:
            connection.close()


def test_too_many_large_bodies_at_once_are_told_to_come_back(victim: Victim) -> None:
    statuses: list[int] = []
    body = b'{"messages":["' + b"x" * 40_000_000 + b'"]}'

    def send() -> None:
        answer = httpx.post(
            f"{victim.url}{BATCH}", content=body, headers={**HEADERS, "Prefer": "respond-async"}, timeout=60
        )
        statuses.append(answer.status_code)
        assert answer.status_code == 202 or answer.headers["retry-after"]

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {202, 408, 503}
    assert 202 in statuses
    assert victim.look() < LIMIT_MB


def test_endless_headers_are_cut_off(victim: Victim) -> None:
    with victim.connect() as connection, pytest.raises(OSError, match=r"reset|[Bb]roken|closed"):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for index in range(100_000):
            connection.sendall(b"X-%d: %s\r\n" % (index, b"y" * 1000))
        raise ConnectionError("never closed")


def test_bodies_of_every_size_arrive_whole(victim: Victim) -> None:
    with httpx.Client(
        base_url=victim.url, headers={**HEADERS, "Prefer": "respond-async"}, timeout=30
    ) as client:
        for size in (0, 1, 65_535, 65_536, 65_537, 1_000_000, 5_000_000):
            body = b'{"messages":["' + b"x" * size + b'"]}'
            for answer in (
                client.post(BATCH, content=body),
                client.post(BATCH, content=iter([body[:100], body[100:]])),
                client.post(BATCH, content=gzip.compress(body, 1), headers={"Content-Encoding": "gzip"}),
            ):
                assert answer.status_code == 202
                assert answer.json()["size_bytes"] == len(body)
