"""Load: what the flows send while something is killed, by senders that try again until each payload is acknowledged."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import httpx
import redis

from ingestion_assets_tests.stacks import RunningStack

SENDERS = 8
WAITING_SHARE = 0.3
"""Share of the requests that wait for their outcome instead of asking for the receipt alone."""
PAUSE_S = 0.1
JSON = "application/json"
REVISED_S = 0.5
SINGLE_RETRY_S = 1.0


class StoppedError(Exception):
    """The round is over; nobody waits for this payload any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What a sender was told: the receipt of a payload with so many records (None: it does not know how many)."""

    receipt: str
    records: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a flow's oracle says of its tables; both should be empty or 0."""

    doubled: int
    """Records that two payloads were told to have stored."""
    different: list[str]


class Client:
    """The front door and the queues as a patient client uses them: it tries again until it is answered."""

    def __init__(self, stack: RunningStack, doors: Sequence[str] = ()) -> None:
        self.answers: Counter[str] = Counter()
        """How often each status was answered; `broken` for connections that broke."""
        self._stop = threading.Event()
        self._doors = [
            httpx.Client(
                base_url=url, headers={"X-API-Key": stack.admin_token}, timeout=httpx.Timeout(60, connect=2)
            )
            for url in (stack.url, *doors)
        ]
        self._queues = redis.Redis.from_url(
            stack.environment["INGESTION_REDIS_URL"], socket_timeout=5, socket_connect_timeout=2
        )

    def close(self) -> None:
        self.stop()
        for door in self._doors:
            door.close()
        self._queues.close()

    @property
    def http(self) -> httpx.Client:
        """A client of any of the front doors, another one each time."""
        return random.choice(self._doors)

    def stop(self) -> None:
        """Whoever waits for an answer gets `StoppedError`."""
        self._stop.set()

    def pause(self, seconds: float = PAUSE_S) -> None:
        """Wait before the next try. Raises `StoppedError`."""
        if self._stop.wait(seconds):
            raise StoppedError

    def request(
        self, method: str, path: str, *, expected: Sequence[int] = (), **options: Any
    ) -> httpx.Response:
        """The answer: a success, or a status that is `expected`. Raises `AssertionError` for others, `StoppedError`."""
        while True:
            try:
                answer = self.http.request(method, path, **options)
            except httpx.TransportError:
                self.answers["broken"] += 1
                self.pause()
                continue
            self.answers[str(answer.status_code)] += 1
            if answer.is_success or answer.status_code in expected:
                return answer
            self.pause(retry_after(answer))

    def push(self, queue: str, job: bytes) -> None:
        """Push a job, maybe twice where the answer was lost."""
        self._ask(lambda: self._queues.lpush(queue, job))

    def value(self, name: str) -> bytes | None:
        """What a key holds."""
        return self._ask(lambda: self._queues.get(name))

    def _ask(self, question: Callable[[], Any]) -> Any:
        while True:
            try:
                return question()
            except redis.RedisError:
                self.answers["queue broken"] += 1
                self.pause()


def retry_after(answer: httpx.Response) -> float:
    """Seconds after which a refused request may be tried again. Raises `AssertionError` where that would be no use."""
    if answer.status_code not in (429, 503):
        raise AssertionError(f"{answer.request.url} was answered {answer.status_code}: {answer.text}")
    return float(answer.headers["Retry-After"])


Send = Callable[[Client], list[Acknowledged]]
"""Sends one payload and returns once it is acknowledged."""


class Load(Protocol):
    """One flow's share of the load over a campaign, and the oracle of what must come of it. It lies with the flow's tests."""

    settings: Mapping[str, object]
    """What the stack must be told for it."""

    def prepare(self, client: Client) -> None:
        """Make in the stack what the payloads need; called once, before anything is killed."""
        ...

    def payloads(self, rng: random.Random, *, count: int) -> list[Send]:
        """About `count` payloads for a round. They may be sent in any order, and all of them will be."""
        ...

    def single(self, rng: random.Random) -> "Single":
        """A payload for one try."""
        ...

    def records_in(self, result: Mapping[str, Any]) -> int:
        """How many records a receipt's result accounts for."""
        ...

    def audit(self, stack: RunningStack) -> Findings:
        """The stack's tables against everything that `payloads` gave."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A payload that one request carries, under an idempotency key."""

    path: str
    key: str
    body: bytes
    records: int
    waits: bool
    media_type: str = JSON
    parameters: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """The request as httpx takes it."""
        headers = {
            "Content-Type": self.media_type, "Idempotency-Key": self.key,
            "Prefer": "wait=20" if self.waits else "respond-async",
        }  # fmt: skip
        return {"url": self.path, "params": self.parameters, "content": self.body, "headers": headers}

    def __call__(self, client: Client) -> list[Acknowledged]:
        request = self.request()
        answer = client.request("POST", request.pop("url"), **request)
        return [Acknowledged(receipt=answer.headers["X-Receipt-Id"], records=self.records)]


def some_post(rng: random.Random, path: str, body: bytes, *, records: int, media_type: str = JSON) -> Post:
    """A payload under a key that no other has; whether it waits for its outcome is left to chance."""
    return Post(
        path=path, key=some_key(rng), body=body, records=records, waits=waits(rng), media_type=media_type
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The same thing again and again, each sent once the one before is acknowledged: the last one wins."""

    messages: Sequence[Post]

    def __call__(self, client: Client) -> list[Acknowledged]:
        acknowledged: list[Acknowledged] = []
        for message in self.messages:
            acknowledged += message(client)
            client.pause(random.choice((0.0, REVISED_S)))  # the time until somebody revises it, not a wait
        return acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """A payload that is given up where the answer says that nothing was accepted: then it must never be seen again.

    Where it is not known, it is repeated under its key. `accepted` tells the oracle that it is to be expected.
    """

    post: Post
    accepted: Callable[[], None]

    def __call__(self, client: Client) -> list[Acknowledged]:
        request = self.post.request()
        path, unknown = request.pop("url"), False
        while True:
            try:
                answer = client.http.post(path, **request)
            except httpx.TransportError:
                client.answers["broken"] += 1
                unknown = True
                client.pause()
                continue
            if answer.is_success:
                client.answers[str(answer.status_code)] += 1
                self.accepted()
                return [Acknowledged(receipt=answer.headers["X-Receipt-Id"], records=self.post.records)]
            wait_s = retry_after(answer)
            unknown = unknown or answer.json().get("accepted") == "unknown"
            client.answers["503 not known" if unknown else "503 nothing accepted"] += 1
            if not unknown:
                return []
            client.pause(min(wait_s, SINGLE_RETRY_S))


def unwaiting(send: Send) -> Send:
    """The same, by clients that never wait for an outcome."""
    if isinstance(send, Post):
        return replace(send, waits=False)
    if isinstance(send, Versions):
        return replace(send, messages=[replace(one, waits=False) for one in send.messages])
    return send


def held_back(send: Send, *, until: threading.Event) -> Send:
    """The same, once something has happened."""

    def sent(client: Client) -> list[Acknowledged]:
        while not until.is_set():
            client.pause()
        return send(client)

    return sent


class Senders:
    """Threads that send some payloads. Use as a context manager; `finish` waits for all to be acknowledged."""

    def __init__(self, stack: RunningStack, payloads: Sequence[Send], *, doors: Sequence[str] = ()) -> None:
        self.payloads = payloads
        self.acknowledged: list[Acknowledged] = []
        self._client = Client(stack, doors)
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="sender")
        self._sending: list[Future[None]] = []

    def __enter__(self) -> "Senders":
        self._sending = [self._pool.submit(self._send, payload) for payload in self.payloads]
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop()
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    @property
    def answers(self) -> Counter[str]:
        return self._client.answers

    @property
    def is_over(self) -> bool:
        return all(one.done() for one in self._sending)

    def finish(self, *, timeout_s: float) -> None:
        """Return once everything is acknowledged. Raises what a sender raised; `TimeoutError`."""
        until = time.monotonic() + timeout_s
        for one in self._sending:
            one.result(timeout=max(0.0, until - time.monotonic()))

    def _send(self, payload: Send) -> None:
        self.acknowledged += payload(self._client)


def some_key(rng: random.Random) -> str:
    """A key that no other payload has."""
    return f"{rng.getrandbits(96):024x}"


def waits(rng: random.Random) -> bool:
    """Whether a request waits for its outcome."""
    return rng.random() < WAITING_SHARE
