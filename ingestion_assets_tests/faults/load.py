"""Load: batches of made-up transcripts, posted by threads that try again until each is acknowledged."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from ingestion_assets.sending.synthetic import transcripts

SENDERS = 4
WAITING_SHARE = 0.3
"""Share of the requests that wait for their outcome instead of asking for the receipt alone."""
PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One batch as it is sent, and the lines in it as the oracle wants them."""

    key: str
    session: str
    lines: tuple[dict[str, Any], ...]

    def body(self) -> bytes:
        return json.dumps({"sessionId": self.session, "messages": list(self.lines)}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What a sender was told: a receipt, at once or with the outcome (`status` 200)."""

    payload: Payload
    receipt: str
    status: int
    answer: dict[str, Any] = field(repr=False)


def payloads(*, seed: int, sessions: int = 4, lines: int = 240, size: int = 20) -> list[Payload]:
    """Batches over several new sessions, in random order: neighbours overlap, and one in five comes twice.

    Lines that come again are the same, so whatever the order, the tables are the same.
    """
    rng = random.Random(seed)
    made: list[Payload] = []
    for transcript in transcripts(sessions=sessions, lines=lines, seed=seed):
        for start in range(0, len(transcript.lines), size * 3 // 4):
            part = tuple(transcript.lines[start : start + size])
            made.append(Payload(key=f"load-{seed}-{len(made)}", session=transcript.session_id, lines=part))
    for again in rng.sample(made, len(made) // 5):
        made.append(Payload(key=f"load-{seed}-{len(made)}", session=again.session, lines=again.lines))
    rng.shuffle(made)
    return made


class Load:
    """Senders at work on some payloads. Use as a context manager; `finish` waits for all to be acknowledged."""

    def __init__(self, *, url: str, token: str, payloads: Sequence[Payload], seed: int) -> None:
        self.payloads = payloads
        self.acknowledged: list[Acknowledged] = []
        self.answers: Counter[str] = Counter()
        """How often each status was answered; `broken` for connections that broke."""
        self._url, self._token = url, token
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="sender")
        self._sending: list[Future[None]] = []

    def __enter__(self) -> "Load":
        self._client = httpx.Client(
            base_url=self._url, headers={"X-API-Key": self._token, "Content-Type": "application/json"},
            timeout=httpx.Timeout(60, connect=2),
        )  # fmt: skip
        self._sending = [
            self._pool.submit(self._send, payload, waits=self._rng.random() < WAITING_SHARE)
            for payload in self.payloads
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    @property
    def is_over(self) -> bool:
        return all(one.done() for one in self._sending)

    def finish(self, *, timeout_s: float) -> None:
        """Return once everything is acknowledged. Raises what a sender raised; `TimeoutError`."""
        until = time.monotonic() + timeout_s
        for one in self._sending:
            one.result(timeout=max(0.0, until - time.monotonic()))

    def _send(self, payload: Payload, *, waits: bool) -> None:
        headers = {"Idempotency-Key": payload.key, "Prefer": "wait=20" if waits else "respond-async"}
        body = payload.body()
        while not self._stop.is_set():
            pause_s = PAUSE_S
            try:
                answer = self._client.post("/api/v1/ingest/batch", content=body, headers=headers)
            except httpx.TransportError:
                self.answers["broken"] += 1
            else:
                self.answers[str(answer.status_code)] += 1
                if answer.is_success:
                    self.acknowledged.append(
                        Acknowledged(
                            payload=payload, receipt=answer.headers["X-Receipt-Id"],
                            status=answer.status_code, answer=answer.json(),
                        )
                    )  # fmt: skip
                    return
                if answer.status_code not in (429, 503):
                    raise AssertionError(f"{payload.key} was answered {answer.status_code}: {answer.text}")
                pause_s = float(answer.headers["Retry-After"])
            self._stop.wait(pause_s)
