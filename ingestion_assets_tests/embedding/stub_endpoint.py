"""A server of embeddings that keeps to OpenAI's form, counts what it is asked, and can be told to fail."""

import hashlib
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[[dict[str, Any]], tuple[int, dict[str, str], Any] | None]


def vector_of(text: str, width: int) -> list[float]:
    """Some vector, the same for the same text."""
    made = random.Random(hashlib.sha256(text.encode()).digest())
    return [made.gauss(0, 1) for _ in range(width)]


@dataclass
class StubEndpoint:
    """`faults` are taken one a request, first come first; `seen` counts texts, `requests` has when and how many texts each had."""

    url: str
    width: int = 8
    most_characters: int = 10_000
    most_texts: int = 2048
    key: str = "planted-secret-key"
    faults: deque[Fault] = field(default_factory=deque)
    seen: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[float, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, authorization: str | None, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        with self.lock:
            self.requests.append((time.monotonic(), len(body["input"])))
            fault = self.faults.popleft() if self.faults else None
        if authorization != f"Bearer {self.key}":
            return 401, {}, {"error": {"message": "wrong key"}}
        if fault is not None and (said := fault(body)) is not None:
            return said
        texts = body["input"]
        if len(texts) > self.most_texts or any(len(text) > self.most_characters for text in texts):
            return 400, {}, {"error": {"message": f"too long: {texts[0]}"}}
        with self.lock:
            self.seen.update(texts)
        return 200, {}, whole(texts, body.get("dimensions", self.width))


def whole(texts: list[str], width: int) -> dict[str, Any]:
    """An answer in another order than the texts came."""
    data = [
        {"object": "embedding", "index": number, "embedding": vector_of(text, width)}
        for number, text in enumerate(texts)
    ]
    random.Random(len(texts)).shuffle(data)
    return {"object": "list", "data": data, "model": "stub"}


@contextmanager
def stub_endpoint(**given: Any) -> Iterator[StubEndpoint]:
    stub = StubEndpoint("", **given)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/embeddings":
                status, headers, said = 404, {}, {"error": {"message": "no such address"}}
            else:
                status, headers, said = stub.answer(self.headers["Authorization"], body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
