"""Entities under fire: messages, batches and resumable streams whose rows reference each other, and the rows they must leave."""

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx
import uuid_utils

from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.faults.load import (
    Acknowledged,
    Client,
    Findings,
    Post,
    Send,
    Single,
    Versions,
    retry_after,
    some_post,
)
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.stacks import RunningStack

TEXT = "text/plain"
ORDERS, STREAMED_ORDERS = 4, 20
"""Orders in a batch and in a stream, each with its customer, a product and some lines."""
VERSIONS = 3
REQUESTS = (1, 3)
"""How many requests a stream may be sent in where nothing breaks."""
CHUNKS = 9
CHUNK_S = 0.3
Row = tuple[str, ...]
"""Name of the entity, then its fields as text."""

_TOLD = """
    SELECT coalesce(sum((result ->> 'inserted')::int), 0) AS inserted FROM ingestion.drops
    WHERE flow = 'entities' AND NOT attributes ? 'alias_of'
"""
_STREAMS = """
    SELECT attributes ->> 'stream' AS stream, sum(size_bytes)::int AS bytes, sum((result ->> 'processed')::int)::int AS lines,
        count(*) FILTER (WHERE attributes ? 'stream_end') AS ends
    FROM ingestion.drops
    WHERE flow = 'entities' AND attributes ? 'stream' AND NOT attributes ? 'alias_of' GROUP BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream in a few slow requests. What was acknowledged is never sent again, whatever breaks."""

    name: str
    body: bytes
    requests: int
    waits: bool

    def __call__(self, client: Client) -> list[Acknowledged]:
        sent = _Progress(self, client)
        lines = [at + 1 for at, byte in enumerate(self.body) if byte == ord("\n")]
        for end in [lines[len(lines) * n // self.requests - 1] for n in range(1, self.requests + 1)]:
            last = end == len(self.body)
            while sent.acknowledged < end or (last and not sent.ended):
                sent.go_on(end, last=last)
        return [Acknowledged(receipt=receipt) for receipt in sent.receipts]


class _Progress:
    """How far a stream was acknowledged."""

    def __init__(self, stream: Stream, client: Client) -> None:
        self._stream, self._client = stream, client
        self.acknowledged = 0
        self.ended = False
        self.receipts: dict[str, None] = {}

    def go_on(self, end: int, *, last: bool) -> None:
        """One request with the text up to `end`; where it breaks, ask how far it came."""
        parameters = {
            "stream": self._stream.name,
            "offset": str(self.acknowledged),
            "more": str(not last).lower(),
        }
        headers = {"Content-Type": TEXT} | ({} if self._stream.waits else {"Prefer": "respond-async"})
        chunks = self._chunks(self._stream.body[self.acknowledged : end])
        try:
            with self._client.http.stream(
                "POST", "/ingest/stream", params=parameters, headers=headers, content=chunks
            ) as answer:
                self._client.answers[f"stream {answer.status_code}"] += 1
                if answer.status_code == 200:
                    for event in _events(answer):
                        self._note(event)
                    return
                answer.read()
        except httpx.TransportError:
            self._client.answers["stream broken"] += 1
            self._client.pause()
        else:
            if answer.status_code == 202:
                self.acknowledged, self.ended = answer.json()["bytes"], answer.json()["ended"]
                return
            if answer.status_code != 409:
                self._client.pause(retry_after(answer))
        self._ask()

    def _chunks(self, text: bytes) -> Iterator[bytes]:
        size = len(self._stream.body) // CHUNKS
        for start in range(0, len(text), size):
            self._client.pause(CHUNK_S)  # the pace of the stream, not a wait
            yield text[start : start + size]

    def _note(self, event: Mapping[str, Any]) -> None:
        self.acknowledged = max(self.acknowledged, event.get("bytes", 0))
        if event["type"] == "progress":
            self.receipts[event["receipt"]] = None
        self.ended = self.ended or (event["type"] == "total" and not event["more"])
        if event["type"] in ("error", "interrupted"):
            self._client.answers[f"stream {event['type']}"] += 1
            self._client.pause()

    def _ask(self) -> None:
        """The position, once it is at least where it was acknowledged before."""
        while True:
            answer = self._client.request("GET", f"/ingest/stream/{self._stream.name}", expected=[404])
            position = answer.json() if answer.is_success else {"bytes": 0, "ended": False}
            if position["bytes"] >= self.acknowledged:
                self.acknowledged, self.ended = position["bytes"], position["ended"]
                return
            self._client.answers["stream behind"] += 1
            self._client.pause()


class Messages:
    """Customers, products, orders and their lines, all new in each round; a few customers change again and again."""

    settings: Mapping[str, object] = {}

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], Row] = {}
        self._streams: list[Stream] = []
        self._keys = itertools.count(1)

    def prepare(self, client: Client) -> None:
        """Nothing is needed."""

    def payloads(self, rng: random.Random, *, count: int) -> list[Send]:
        """Messages, batches of which one in four comes twice, and streams."""
        made: list[Send] = []
        for number in range(max(3, count // 2)):
            if number % 3 == 0:
                key = next(self._keys)
                versions = [self._line(_customer(rng, key)) for _ in range(VERSIONS)]
                made.append(Versions(messages=[self._post(rng, "message", line) for line in versions]))
            elif number % 3 == 1:
                body = self._body(rng, orders=ORDERS)
                times = 1 + (rng.random() < 1 / 4)
                made += [self._post(rng, "batch", body) for _ in range(times)]
            else:
                body = self._body(rng, orders=STREAMED_ORDERS)
                stream = Stream(
                    name=str(uuid_utils.uuid7()), body=body, requests=rng.choice(REQUESTS), waits=rng.random() < 0.5
                )  # fmt: skip
                self._streams.append(stream)
                made.append(stream)
        return made

    def single(self, rng: random.Random) -> Single:
        row = _customer(rng, next(self._keys))
        return Single(
            post=self._post(rng, "message", _text(row)), accepted=lambda: self._rows.update({row[:2]: row})
        )

    def _post(self, rng: random.Random, endpoint: str, body: bytes) -> Post:
        return some_post(rng, f"/ingest/{endpoint}", body, records=body.count(b"\n"), media_type=TEXT)

    def _body(self, rng: random.Random, *, orders: int) -> bytes:
        lines = [self._line(row) for row in _family(rng, self._keys, orders=orders)]
        rng.shuffle(lines)
        return b"".join(lines)

    def _line(self, row: Row) -> bytes:
        name, *values = row
        entity = TPCH.by_name[name]
        named = dict(zip(entity.names, values, strict=True))
        self._rows[name, *(named[part] for part in entity.primary_key)] = row
        return _text(row)

    def records_in(self, result: Mapping[str, Any]) -> int:
        return result["processed"]

    def audit(self, stack: RunningStack) -> Findings:
        """Every row there once, with its last values; every stream whole and ended once."""
        found: set[Row] = set()
        for entity in TPCH.entities:
            columns = ", ".join(f'"{name}"::text' for name in entity.names)
            query = f'SELECT ARRAY[{columns}] AS row FROM entities."{entity.table}"'
            found |= {(entity.entity, *one["row"]) for one in rows(stack, query)}
        wanted = set(self._rows.values())
        different = [f"missing: {row}" for row in wanted - found] + [
            f"not sent: {row}" for row in found - wanted
        ]
        streams = {one["stream"]: one for one in rows(stack, _STREAMS)}
        for stream in self._streams:
            whole = {
                "stream": stream.name, "bytes": len(stream.body), "lines": stream.body.count(b"\n"), "ends": 1,
            }  # fmt: skip
            if streams.get(stream.name) != whole:
                different.append(f"stream {streams.get(stream.name)} instead of {whole}")
        [waiting] = rows(stack, "SELECT count(*) AS lines FROM entities._waiting")
        if waiting["lines"]:
            different.append(f"{waiting['lines']} lines wait for streams that ended")
        [told] = rows(stack, _TOLD)
        return Findings(doubled=told["inserted"] - len(wanted), different=different)


def _text(row: Row) -> bytes:
    return "|".join((TPCH.by_name[row[0]].prefix, *row[1:])).encode() + b"\n"


def _events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def _family(rng: random.Random, keys: Iterator[int], *, orders: int) -> Iterator[Row]:
    """Orders with all that they reference, and lines of them."""
    for _ in range(orders):
        key = next(keys)
        yield _customer(rng, key)
        yield (
            "Product",
            str(key),
            f"thing {key}",
            "Maker",
            "Brand#11",
            "SMALL",
            "7",
            "JAR",
            _money(rng),
            " fine ",
        )
        yield "Order", str(key), str(key), "O", _money(rng), _day(rng), "5-LOW", "Clerk", "0", f"order {key}"
        for number in range(1, rng.randint(2, 4)):
            yield (
                "OrderLineItem", str(key), str(key), "9", str(number), _money(rng), _money(rng), "0.04", "0.02", "N", "O",
                _day(rng), _day(rng), _day(rng), "NONE", "TRUCK", "ok",
            )  # fmt: skip


def _customer(rng: random.Random, key: int) -> Row:
    return (
        "Customer",
        str(key),
        f"name {rng.random()}"[:25],
        "street",
        "3",
        "12-345",
        _money(rng),
        "BUILDING",
        " ok",
    )


def _money(rng: random.Random) -> str:
    return f"{rng.randint(0, 999)}.{rng.randint(0, 99):02}"


def _day(rng: random.Random) -> str:
    return (date(1996, 1, 1) + timedelta(days=rng.randrange(700))).isoformat()


LOAD = Messages
