"""A small front door for scripting failures that the real one cannot be made to show on command.

It speaks the contract over real sockets: requests are kept before they are acknowledged, keys replay,
receipts tell the outcome of each record. `script` holds what to do with the next POSTs; when it is empty they
are accepted.
"""

import gzip
import hashlib
import json
import socket
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import zstandard

DROP_UNREAD = "drop the connection before reading"
DROP_ANSWER = "keep the request, then drop the connection"


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted refusal or delay; `foreign` where something before the front door says it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    detail: str = "scripted"
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Odd:
    """What some other server answers to everything."""

    status: int
    body: bytes = b"<html>Please log in</html>"
    headers: dict[str, str] = field(default_factory=dict)


class Peer:
    """Use as a context. `requests` are the kept bodies in order, `stored` what a store would hold."""

    def __init__(self, *, port: int = 0) -> None:
        self.script: deque[str | Answer] = deque()
        self.odd: Odd | None = None  # while set, this is no front door at all
        self.refuse_containing: bytes | None = None
        self.fail_containing: bytes | None = None
        self.requests: list[dict[str, Any]] = []
        self.raw_bodies: list[bytes] = []
        self.posts = 0
        self.receipts: dict[str, dict[str, Any]] = {}
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.stored: dict[tuple[str | None, str], str] = {}
        self.insertions = 0
        self.streams: dict[tuple[str, str], bytes] = {}
        self.hold_receipts = threading.Event()
        self.superseding = False  # whether newer todo lists are stored than any that come
        self._keys: dict[str, tuple[str, str]] = {}
        self._guard = threading.Lock()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20
            wbufsize = -1  # header and body in one packet

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                _answer_oddly(self, peer.odd) if peer.odd else peer.post(self)

            def do_GET(self) -> None:
                _answer_oddly(self, peer.odd) if peer.odd else peer.get(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every message that arrived, in order of acceptance."""
        with self._guard:
            return [message for request in self.requests for message in request.get("messages", [])]

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        with self._guard:
            self.posts += 1
            step = self.script.popleft() if self.script else None
        if step == DROP_UNREAD:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if isinstance(step, Answer):
            media_type = {"Content-Type": "text/html"} if step.foreign else {}
            _answer(handler, step.status, {"detail": step.detail}, step.headers | media_type)
            return
        encoding = handler.headers.get("Content-Encoding")
        if encoding == "zstd":
            body = zstandard.ZstdDecompressor().decompress(body)
        elif encoding == "gzip":
            body = gzip.decompress(body)
        path = urlsplit(handler.path)
        if path.path == "/ingest/stream":
            self._take_stream(handler, dict(parse_qsl(path.query)), body)
            return
        if self.refuse_containing is not None and self.refuse_containing in body:
            _answer(handler, 400, {"detail": "refused for what it contains"}, {})
            return
        with self._guard:
            receipt, replayed = self._keep(handler.headers["Idempotency-Key"], body)
        if step == DROP_ANSWER:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        headers = {"Location": f"/api/v1/receipts/{receipt}"}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        _answer(handler, 202, {"id": receipt, "state": "landed"}, headers)

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(handler.path)
        parts = asked.path.strip("/").split("/")
        if parts[:2] == ["ingest", "stream"]:
            channel = (parts[2], dict(parse_qsl(asked.query))["channel"])
            known = channel in self.streams
            _answer(
                handler,
                200 if known else 404,
                self._position(channel) if known else {"detail": "unknown"},
                {},
            )
            return
        receipt = self.receipts.get(parts[3]) if len(parts) > 3 else None
        if receipt is None:
            _answer(handler, 404, {"detail": "no such receipt"}, {})
        elif parts[-1] == "records":
            _answer(handler, 200, {"items": self.records[parts[3]], "next": None}, {})
        elif self.hold_receipts.is_set():
            _answer(handler, 200, {"id": parts[3], "state": "claimed", "result": None, "errors": None}, {})
        else:
            _answer(handler, 200, receipt, {})

    def _take_stream(self, handler: BaseHTTPRequestHandler, asked: dict[str, str], body: bytes) -> None:
        channel = (asked["stream"], asked["channel"])
        with self._guard:
            text = self.streams.setdefault(channel, b"")
            if int(asked.get("offset", len(text))) != len(text):
                acknowledged = {"bytes": len(text), "lines": text.count(b"\n")}
                _answer(handler, 409, {"detail": "go on from there", "acknowledged": acknowledged}, {})
                return
            self.streams[channel] = text + body
        _answer(handler, 202, self._position(channel), {})

    def _position(self, channel: tuple[str, str]) -> dict[str, Any]:
        text = self.streams[channel]
        lines = text.count(b"\n")
        names = {"stream": channel[0], "channel": channel[1], "lines": lines, "bytes": len(text)}
        return names | {"ended": False, "unfinished": 0, "totals": {"processed": lines}}

    def _keep(self, key: str, body: bytes) -> tuple[str, bool]:
        digest = hashlib.sha256(body).hexdigest()
        if key in self._keys:
            assert self._keys[key][1] == digest, "one key for two bodies"
            return self._keys[key][0], True
        receipt = str(uuid.uuid4())
        self._keys[key] = (receipt, digest)
        request = json.loads(body)
        assert len(request.get("messages", [])) <= 1000
        self.requests.append(request)
        self.raw_bodies.append(body)
        outcomes = [self._store(message, request.get("sessionId")) for message in request.get("messages", [])]
        failed = self.fail_containing is not None and self.fail_containing in body
        count = {
            name: sum(o["status"] == name for o in outcomes) for name in ("stored", "duplicate", "rejected")
        }
        stats = {
            "messages_received": len(outcomes),
            "messages_processed": count["stored"],
            "messages_skipped": count["duplicate"],
            "messages_failed": count["rejected"],
        }
        warnings = [
            {"index": index, "code": "conflict"}
            for index, one in enumerate(outcomes)
            if one.get("code") == "conflict"
        ]
        if self.superseding and request.get("todos"):
            stats["todos_superseded"] = len(request["todos"])
        self.records[receipt] = outcomes
        self.receipts[receipt] = {
            "id": receipt,
            "state": "failed" if failed else "done",
            "result": None if failed else {"success": True, "stats": stats, "warnings": warnings or None},
            "errors": [{"detail": "the run failed 4 times"}] if failed else None,
        }
        return receipt, False

    def _store(self, message: dict[str, Any], session: str | None) -> dict[str, Any]:
        if "type" not in message:
            return {"status": "rejected", "code": "type_missing", "reason": "a message has a type"}
        content = json.dumps(message, sort_keys=True)
        identity = message.get("uuid") or hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()
        key = (message.get("sessionId", session), identity)
        if key in self.stored:
            if self.stored[key] == content:
                return {"status": "duplicate"}
            return {"status": "duplicate", "code": "conflict", "reason": "another one came first and stays"}
        self.stored[key] = content
        self.insertions += 1
        return {"status": "stored"}


def _answer_oddly(handler: BaseHTTPRequestHandler, odd: Odd) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    handler.send_response(odd.status)
    for name, text in ({"Content-Type": "text/html"} | odd.headers).items():
        handler.send_header(name, text)
    if odd.status != 204:
        handler.send_header("Content-Length", str(len(odd.body)))
    handler.end_headers()
    handler.wfile.write(b"" if odd.status == 204 else odd.body)
    handler.wfile.flush()


def _answer(handler: BaseHTTPRequestHandler, status: int, value: Any, headers: dict[str, str]) -> None:
    media_type = "application/json"
    if status >= 400:
        media_type, value = "application/problem+json", {"status": status, **value}
    body = json.dumps(value).encode()
    handler.send_response(status)
    for name, text in {"Content-Type": media_type, "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, text)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()
