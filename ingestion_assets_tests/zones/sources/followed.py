"""A front door that follows a source for a flow of notes, in this process or in one that dies; and what has landed of it.

`python -m ingestion_assets_tests.zones.sources.followed HOME POSTGRES_URL SOURCE [VARIABLE=VALUE…]`
dies by SIGKILL as soon as a payload of it has its row: after landing, before anything is acknowledged.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import Body, Flow, LiveFlows, RefusedError
from ingestion_assets.landing.late_segments import register_late
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.waking import Waker
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets.zones.sources.following import follow
from ingestion_assets.zones.sources.source_config import read_source
from ingestion_assets_tests.servers import wait_until

FLOW = "notes"
SLOW = b'"slow"'
"""A note that takes three seconds to read."""


def read_inbox(name: str, content: bytes) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """A JSON array of notes, or one note. Each line of JSON lines is a payload."""
    if SLOW in content:
        time.sleep(3)
    if b"crash" in content:
        raise ZeroDivisionError(content)
    if name.endswith(".jsonl"):
        return [(Body(line, 1), {"line": str(at)}) for at, line in enumerate(content.splitlines())]
    try:
        notes = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise RefusedError(f"{name} is no JSON") from error
    return [(Body(content, len(notes) if isinstance(notes, list) else 1), {"file": name})]


NOTES = Flow(name=FLOW, definitions="none:none", read_inbox=read_inbox)


class Followed:
    """What has landed, and what the front door says of the source."""

    def __init__(self, own: sa.Engine, door: FrontDoor, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = own
        self.door = door
        self.home = door.settings.home
        self.loop = loop

    def landed(self, *, count: int) -> list[dict[str, Any]]:
        """The rows of all payloads once there are so many."""
        wait_until(lambda: len(landed(self.engine, self.home)) >= count, seconds=60, what=f"{count} payloads")
        rows = landed(self.engine)
        assert len(rows) == count
        return rows

    def at_rest(self) -> None:
        """The source was read, and all is well."""
        wait_until(
            lambda: self.said and not any(self.said.values()), seconds=30, what="the source to be read"
        )

    @property
    def said(self) -> dict[str, str | None]:
        """What `/health` says of sources."""
        known = self.door.dependencies.known
        return {name: error for name, error in known.items() if name.startswith(f"{FLOW}: ")}


def landed(own: sa.Engine, *homes: Path) -> list[dict[str, Any]]:
    """The rows of payloads in the order in which they landed, without those that are repetitions of another.

    A payload may be acknowledged before it has a row, as where the ledger is slow. The sensor finds it in its segment; here this does.
    """
    for home in homes:
        register_late(own, LocalStorage(home / "landing"))
    query = "SELECT * FROM ingestion.drops WHERE idempotency_key IS NOT NULL ORDER BY id"
    with own.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.text(query))]


class Dying(Waker):
    """Kills its process as soon as a payload has its row; nobody has been told yet that it is durable."""

    def wake(self, lanes: Iterable[Lane]) -> None:
        if list(lanes):
            os.kill(os.getpid(), signal.SIGKILL)


def made_door(home: Path, postgres_url: str, waker: type[Waker] = Waker, **changes: Any) -> FrontDoor:
    settings = Settings(
        _env_file=None, home=home, postgres_url=postgres_url, rate_limit="", webserver_url="http://127.0.0.1:9", **changes
    )  # fmt: skip
    waking = waker(engine=engine(postgres_url), launch=lambda _: None, rest_s=0, flows={FLOW: NOTES})
    return FrontDoor(
        settings=settings, storage=open_storage(settings), flows=LiveFlows({FLOW: NOTES}), waker=waking
    )


@contextmanager
def following(
    home: Path, postgres_url: str, *sources: Mapping[str, Any], **changes: Any
) -> Iterator[Followed]:
    """A front door in a thread of this process, following these sources within the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    door = made_door(home, postgres_url, **changes)

    async def started() -> list[asyncio.Task[None]]:
        await door.start()
        return [asyncio.create_task(follow(door, FLOW, read_source(source))) for source in sources]

    async def stopped(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await door.stop()

    tasks = asyncio.run_coroutine_threadsafe(started(), loop).result(30)
    try:
        # One that stops while it still connects leaves a connection half open, which DROP DATABASE waits a minute for.
        wait_until(lambda: door.notifications.listening, seconds=30, what="the front door to listen")
        yield Followed(engine(postgres_url), door, loop)
    finally:
        asyncio.run_coroutine_threadsafe(stopped(tasks), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def killed_after_landing(home: Path, postgres_url: str, source: Mapping[str, Any], **variables: str) -> None:
    """Follow the source in a process that dies once it has landed something."""
    command = [
        sys.executable, "-m", "ingestion_assets_tests.zones.sources.followed",
        str(home), postgres_url, msgspec.json.encode(source).decode(), *(f"{name}={value}" for name, value in variables.items()),
    ]  # fmt: skip
    ended = subprocess.run(command, timeout=60, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]


def _die_after_landing() -> None:
    home, postgres_url, source, *variables = sys.argv[1:]
    settings = dict(one.split("=", 1) for one in variables)
    door = made_door(Path(home), postgres_url, Dying, **settings)

    async def run() -> None:
        await door.start()
        await follow(door, FLOW, read_source(msgspec.json.decode(source)))

    asyncio.run(run())


if __name__ == "__main__":
    _die_after_landing()
