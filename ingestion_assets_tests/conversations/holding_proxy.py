"""A TCP proxy before a MongoDB server that holds one command back and lets it arrive when the test says so."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

WAIT_S = 60


class HoldingProxy:
    """`url` leads to the server. `hold` names the command to hold; `held` is set once it has come, `release` passes it on."""

    def __init__(self, server: str) -> None:
        there = urlsplit(server)
        self._address = (there.hostname or "127.0.0.1", there.port or 27017)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = there.netloc.rpartition("@")[0]
        address = f"{login}@127.0.0.1:{self._listener.getsockname()[1]}".lstrip("@")
        self.url = urlunsplit(there._replace(netloc=address))
        self.held = threading.Event()
        self._wanted: bytes | None = None
        self._kept: tuple[socket.socket, bytes] | None = None
        self._answered = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, command: str, collection: str) -> None:
        """Hold the next such command, e.g. ("update", "sessions")."""
        name = collection.encode() + b"\0"
        self._wanted = b"\x02" + command.encode() + b"\0" + struct.pack("<i", len(name)) + name

    def release(self) -> None:
        """Let it arrive, and wait for the server's answer, which nobody gets."""
        assert self._kept is not None
        upstream, message = self._kept
        upstream.sendall(message)
        assert self._answered.wait(WAIT_S), "MongoDB did not answer the held command"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            upstream = socket.create_connection(self._address)
            threading.Thread(target=self._back, args=(upstream, client), daemon=True).start()
            threading.Thread(target=self._forth, args=(client, upstream), daemon=True).start()

    def _back(self, upstream: socket.socket, client: socket.socket) -> None:
        while data := _received(upstream):
            if self._kept is not None and self._kept[0] is upstream:
                self._answered.set()
                continue
            try:
                client.sendall(data)
            except OSError:
                return

    def _forth(self, client: socket.socket, upstream: socket.socket) -> None:
        buffer = b""
        while data := _received(client):
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= (size := struct.unpack_from("<i", buffer)[0]):
                message, buffer = buffer[:size], buffer[size:]
                if self._wanted is not None and self._wanted in message[:120]:
                    self._wanted, self._kept = None, (upstream, message)
                    self.held.set()
                else:
                    upstream.sendall(message)
        if self._kept is None or self._kept[0] is not upstream:
            upstream.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


@contextmanager
def holding_proxy(server: str) -> Iterator[HoldingProxy]:
    proxy = HoldingProxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
