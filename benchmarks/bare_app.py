"""The floor of accepting: a bare ASGI app that reads the body, syncs it to disk together with the others', and says 202.

Same server and settings as the front door, same storage class, nothing else.
`python benchmarks/bare_app.py PORT FOLDER`
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import uuid_utils
import uvicorn

from ingestion_assets.landing.local_storage import LocalStorage

Waiting = tuple[bytes, "asyncio.Future[None]"]


class BareApp:
    """Body to disk, and 202."""

    def __init__(self, folder: Path) -> None:
        self._storage = LocalStorage(folder)
        self._queue: SimpleQueue[Waiting] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        Thread(target=self._write_groups, daemon=True).start()

    async def __call__(
        self,
        scope: dict[str, Any],  # noqa: ARG002
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        parts = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        synced = self._loop.create_future()
        self._queue.put((b"".join(parts), synced))
        await synced
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    def _write_groups(self) -> None:
        while True:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            self._storage.write(f"bare/{uuid_utils.uuid7()}", b"".join(body for body, _ in group))
            assert self._loop is not None
            self._loop.call_soon_threadsafe(_answer, group)


def _answer(group: list[Waiting]) -> None:
    for _, synced in group:
        if not synced.done():
            synced.set_result(None)


if __name__ == "__main__":
    uvicorn.run(
        BareApp(Path(sys.argv[2])), port=int(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off",
        timeout_keep_alive=75, access_log=False, log_config=None, server_header=False, proxy_headers=False,
        backlog=2048, ws="none",
    )  # fmt: skip
