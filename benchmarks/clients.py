"""HTTP clients that cost little: prepared requests over keep-alive connections, as little parsing as the answers allow."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

INGEST = "/api/v1/ingest/batch"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: status, body, when the request was begun and when the answer was whole (Unix time, s)."""

    status: int
    body: bytes
    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


def request(
    url: str,
    body: bytes,
    *,
    token: str,
    prefer: str | None = None,
    path: str = INGEST,
    media_type: str = "application/json",
) -> bytes:
    """The bytes of a POST."""
    lines = [
        f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"X-API-Key: {token}",
        f"Content-Type: {media_type}", f"Content-Length: {len(body)}",
    ]  # fmt: skip
    if prefer:
        lines.append(f"Prefer: {prefer}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> "Connection":
        address = urlsplit(url)
        return cls(*await asyncio.open_connection(address.hostname, address.port, limit=2**22))

    async def send(self, data: bytes) -> Answer:
        """Send a prepared request and wait for its answer."""
        begun = time.time()
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        start = lowered.index(b"content-length:") + 15
        body = await self._reader.readexactly(int(lowered[start : lowered.index(b"\r", start)]))
        return Answer(int(head[9:12]), body, begun, time.time())

    def close(self) -> None:
        self._writer.close()


async def send_all(url: str, requests: Iterable[bytes], *, connections: int) -> list[Answer]:
    """Send the requests over so many connections, each its next one as soon as the last is answered."""
    waiting = iter(requests)
    answers: list[Answer] = []

    async def work() -> None:
        connection = await Connection.open(url)
        for data in waiting:
            answers.append(await connection.send(data))  # noqa: PERF401
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return answers


async def keep_sending(
    url: str, requests: Sequence[bytes], *, connections: int, seconds: float
) -> list[Answer]:
    """Send the requests over and over for a time."""
    end = time.time() + seconds
    answers: list[Answer] = []

    async def work(number: int) -> None:
        connection = await Connection.open(url)
        turn = number
        while time.time() < end:
            answers.append(await connection.send(requests[turn % len(requests)]))
            turn += 1
        connection.close()

    await asyncio.gather(*(work(number) for number in range(connections)))
    return answers


def one_by_one(
    url: str, requests: Sequence[bytes], *, after_each: Callable[[Answer], None] | None = None
) -> list[Answer]:
    """Send the requests one after another."""

    async def work() -> list[Answer]:
        connection = await Connection.open(url)
        answers = []
        for data in requests:
            answer = await connection.send(data)
            answers.append(answer)
            if after_each is not None:
                await asyncio.to_thread(after_each, answer)
        connection.close()
        return answers

    return asyncio.run(work())
