"""A MongoDB server behind a proxy that holds writes back: they arrive later, whatever became of who sent them."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ingestion_assets.stores.embedded import LOOPBACK, EmbeddedServer, embedded_mongodb, free_port
from ingestion_assets_tests.servers import start, stop, wait_until

ARRIVAL_S = 30.0
HEAD = 100
"""The part of a message that names its command and, commonly, its collection."""
_UPDATES = (b"update\0", b"findAndModify\0")


@dataclass(slots=True, eq=False)
class _Held:
    upstream: socket.socket
    message: bytes
    answered: threading.Event = field(default_factory=threading.Event)


class LateWrites:
    """The proxy. `hold` keeps back the next updates, `release` sends them on."""

    def __init__(self, server: EmbeddedServer, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        """The server's."""
        self._server = urlsplit(server.url)
        self._listener = socket.create_server((LOOPBACK, 0))
        self._lock = threading.Lock()
        self._wanted = b""
        self._held: list[_Held] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The server's address, with the proxy's port."""
        own, port = self._server, self._listener.getsockname()[1]
        return urlunsplit(own._replace(netloc=own.netloc.removesuffix(f":{own.port}") + f":{port}"))

    @property
    def held(self) -> int:
        """How many writes are held back."""
        return len(self._held)

    def hold(self, collection: str) -> None:
        """Keep back the next update of this collection; the empty name: of none."""
        with self._lock:
            self._wanted = collection.encode() and collection.encode() + b"\0"

    def release(self) -> int:
        """Send on what is held, in any order to the server; returns how many, once all were carried out."""
        with self._lock:
            self._wanted = b""
            late, self._held = self._held, []
        for one in late:
            one.upstream.sendall(one.message)
        wait_until(
            lambda: all(one.answered.is_set() for one in late),
            seconds=ARRIVAL_S,
            what="late writes to be answered",
        )
        return len(late)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection. The server's side stays open while a write of it is held, though the client be gone."""
        waiting: list[_Held] = []
        try:
            upstream = socket.create_connection((LOOPBACK, self._server.port or 0))
        except OSError:
            client.close()
            return
        threading.Thread(target=_answer, args=(client, upstream, waiting), daemon=True).start()
        buffer = b""
        with suppress(OSError):
            while data := client.recv(65536):
                buffer += data
                while len(buffer) >= 4 and len(buffer) >= (size := int.from_bytes(buffer[:4], "little")):
                    message, buffer = buffer[:size], buffer[size:]
                    if not self._keeps(upstream, message, waiting):
                        upstream.sendall(message)
        client.close()
        if not waiting:
            upstream.close()

    def _keeps(self, upstream: socket.socket, message: bytes, waiting: list[_Held]) -> bool:
        if not any(command in message[:HEAD] for command in _UPDATES):
            return False
        with self._lock:
            if not self._wanted or self._wanted not in message[:HEAD]:
                return False
            self._wanted = b""
            one = _Held(upstream, message)
            waiting.append(one)
            self._held.append(one)
        return True


def _answer(client: socket.socket, upstream: socket.socket, waiting: list[_Held]) -> None:
    """What the server says goes to the client as long as there is one; its first word after a held write answers that."""
    with suppress(OSError):
        while data := upstream.recv(65536):
            for one in waiting:
                one.answered.set()
            with suppress(OSError):
                client.sendall(data)
    with suppress(OSError):
        client.close()


@contextmanager
def late_writes(folder: Path) -> Iterator[LateWrites]:
    """A MongoDB server of its own in `folder`, and the proxy before it, within the block."""
    server = embedded_mongodb(folder=folder, port=free_port())
    process = start(server)
    proxy = LateWrites(server, process)
    try:
        yield proxy
    finally:
        proxy.close()
        stop(server, process)
