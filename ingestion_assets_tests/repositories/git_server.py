"""A small real git server on 127.0.0.1 (`git http-backend`), and its opposites: one that redirects, one that never ends, one that listens."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from ingestion_assets.repositories.addresses import Repository, parse

GIT = shutil.which("git") or "git"


@dataclass
class Limited:
    """Limits as the settings have them."""

    max_files: int = 20_000
    max_file_bytes: int = 2**20
    clone_s: float = 60
    max_clone_bytes: int = 2**31


@dataclass
class Server:
    """A running server, and what it was asked: method, path, `Authorization`."""

    port: int
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    working: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def repository(self, path: str, name: str = "127.0.0.1") -> Repository:
        return parse(f"{name}:{self.port}/{path}", [], [], [f"http://{name}:{self.port}"])


Answer = Callable[[BaseHTTPRequestHandler, Server], None]


@contextmanager
def answering(answer: Answer, *, port: int = 0) -> Iterator[Server]:
    """A server that answers every request with `answer`; on a free port, if none is given."""
    server = Server(port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.command, self.path, self.headers.get("Authorization")))
            answer(self, server)

        do_POST = do_GET  # noqa: N815 - the name that the base class looks for

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the base class names it so

    class Threads(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None: ...

    with Threads(("127.0.0.1", port), Handler) as http:
        server.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()


def serving(root: Path, credential: str | None = None, *, filters: bool = True) -> Answer:
    """Answers as git's own server does, of the repositories below `root`."""

    def answer(request: BaseHTTPRequestHandler, _server: Server) -> None:
        if credential is not None and request.headers.get("Authorization") != credential:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.end_headers()
            return
        url = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": url.path,
            "QUERY_STRING": url.query, "REQUEST_METHOD": request.command, "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": request.headers.get("Content-Type", ""), "REMOTE_ADDR": "127.0.0.1", "GIT_CONFIG_NOSYSTEM": "1",
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""), "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "uploadpack.allowFilter", "GIT_CONFIG_VALUE_0": str(filters).lower(),
        }  # fmt: skip
        answered = subprocess.run(
            [GIT, "http-backend"], input=body, env=environment, capture_output=True, check=False
        )
        head, _, content = answered.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        request.send_response(int(headers.pop("Status", "200 OK")[:3]))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def redirecting(code: int, to: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler, _server: Server) -> None:
        request.send_response(code)
        request.send_header("Location", to + request.path)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def never_ending(request: BaseHTTPRequestHandler, server: Server) -> None:
    """Begins the list of refs and then is silent until the client is gone."""
    request.send_response(200)
    request.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
    request.end_headers()
    request.wfile.write(b"001e# service=git-upload-pack\n0000")
    request.wfile.flush()
    server.working.set()
    request.rfile.read(1)


def all_kinds(root: Path, credential: str) -> Answer:
    """Serves the repositories below `root`, those in `private/` to whom sends this `Authorization`; those in `never/` never end."""
    kinds = {"never": never_ending, "private": serving(root, credential)}

    def answer(request: BaseHTTPRequestHandler, server: Server) -> None:
        kinds.get(request.path.split("/")[1], serving(root))(request, server)

    return answer
