"""Connections that are kept open for nothing: others get in all the same, with few descriptors too."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from ingestion_assets.frontdoor.connections import Bounds
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, process

BATCH = "/api/v1/ingest/batch"
HEADERS = {"X-API-Key": ADMIN_TOKEN}
HEAD = f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_TOKEN}\r\nContent-Type: application/json\r\n".encode()
KEPT_OPEN = {
    "silent": b"",
    "half a head": b"GET /health/live HTTP/1.1\r\nHost",
    "half a body": HEAD + b'Content-Length: 100\r\n\r\n{"messages"',
    "answered": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "refused": b"GET /health/live HTTP/1.1\r\n\r\n",
}


@pytest.fixture(scope="module", autouse=True)
def _descriptors() -> Iterator[None]:
    """Enough for the clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def with_descriptors(soft: int, hard: int, *, home: Path, postgres_url: str) -> Iterator[tuple[int, str]]:
    """A front door that starts with these limits."""
    with process(home=home, postgres_url=postgres_url, limits=(soft, hard)) as (child, url):
        yield child.pid, url


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def test_the_door_stays_open_with_256_descriptors(postgres_url: str, tmp_path: Path) -> None:
    with (
        with_descriptors(256, 256, home=tmp_path, postgres_url=postgres_url) as (pid, url),
        ExitStack() as opened,
    ):
        for sent in KEPT_OPEN.values():
            for _ in range(600):
                connection = opened.enter_context(socket.create_connection(address(url), timeout=10))
                connection.sendall(sent)
            for _ in range(3):
                answer = httpx.post(
                    url + BATCH, json={"messages": [{"type": "user"}]}, headers=HEADERS, timeout=10
                )
                assert answer.status_code == 200
            assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 256
            opened.pop_all().close()
        log = (tmp_path / "server.log").read_text()
    assert "connections_closed" in log
    assert "Traceback" not in log


def test_requests_that_are_answered_are_left_alone(postgres_url: str, tmp_path: Path) -> None:
    """Those that wait for an outcome hold their connections while silent ones come and go."""
    body = b'{"messages":[{"type":"user"}]}'
    waiting = HEAD + b"Prefer: wait=5\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    with (
        process(home=tmp_path, postgres_url=postgres_url, limits=(256, 256), INGESTION_TEST_NO_RUNS="1") as (
            _,
            url,
        ),
        ExitStack() as opened,
    ):
        connections = [
            opened.enter_context(socket.create_connection(address(url), timeout=20)) for _ in range(60)
        ]
        for connection in connections:
            connection.sendall(waiting)
        for _ in range(600):
            opened.enter_context(socket.create_connection(address(url), timeout=10))
        for connection in connections:
            assert connection.recv(65536).startswith(b"HTTP/1.1 202 ")


def test_the_soft_limit_is_raised(postgres_url: str, tmp_path: Path) -> None:
    with (
        with_descriptors(256, 4096, home=tmp_path, postgres_url=postgres_url) as (pid, url),
        ExitStack() as opened,
    ):
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert next(line for line in limits.splitlines() if "open files" in line).split()[3] == "4096"
        silent = [
            opened.enter_context(socket.create_connection(address(url), timeout=10)) for _ in range(600)
        ]
        assert httpx.get(f"{url}/health/live", timeout=10).status_code == 200
        silent[0].sendall(KEPT_OPEN["answered"])
        assert silent[0].recv(100).startswith(b"HTTP/1.1 200 ")


@dataclass(eq=False)
class Held:
    idle_since: float | None
    abandoned: bool = field(default=False)

    def abandon(self) -> None:
        self.abandoned = True


def test_the_oldest_go_first() -> None:
    bounds = Bounds(256)
    assert (bounds.most_idle, bounds.most) == (128, 192)
    held = [Held(float(number)) for number in range(129)]
    bounds.make_room(held[:128])
    assert not any(one.abandoned for one in held)
    bounds.make_room(list(reversed(held)))
    assert [one.abandoned for one in held] == [True] * 9 + [False] * 120


def test_one_that_is_answered_never_goes() -> None:
    held = [*(Held(None) for _ in range(192)), Held(1.0)]
    Bounds(256).make_room(held)
    assert [one.abandoned for one in held] == [False] * 192 + [True]


@pytest.mark.parametrize("descriptors", [16, 64, 100, 256, 1024, 4096, 65536, 2**20])
def test_there_is_room_whatever_the_limit(descriptors: int) -> None:
    bounds = Bounds(descriptors)
    assert 0 < bounds.most_idle <= bounds.most < descriptors
