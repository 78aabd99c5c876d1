"""What PostgreSQL's NOTIFY tells this front door: one LISTEN connection, and who wants to hear of what.

A notification says that something changed, never what: whoever hears it looks at the ledger. So nothing is queued for a slow
listener, many notifications are one look, and one that was missed while the connection was away is made up for by telling
everybody to look again. Nobody may rely on hearing anything: look now and then as well.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import psycopg
import structlog
from psycopg import sql

from ingestion_assets.stores.postgres import KEEPALIVE

RECONNECT_S = 0.5

log = structlog.get_logger(__name__)

Place = tuple[str, str]
"""A channel and a key: what a payload of the channel names, alone or among others with commas between."""


class Subscription:
    """Hears of its places from `subscribe` until the end of the `with` block."""

    def __init__(self, subscribers: "dict[Place, set[Subscription]]", places: Collection[Place]) -> None:
        self._subscribers = subscribers
        self._places = places
        self._heard = asyncio.Event()

    def tell(self) -> None:
        """There is something new."""
        self._heard.set()

    async def wait(self, seconds: float) -> None:
        """Until something new was heard since the last wait, or for so long; then it is time to look."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        self._heard.clear()

    def __enter__(self) -> Self:
        for place in self._places:
            self._subscribers[place].add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for place in self._places:
            self._subscribers[place].discard(self)
            if not self._subscribers[place]:
                del self._subscribers[place]


class Notifications:
    """Listens on `channels`. `on_listening` is called each time it begins to, as something may have been missed."""

    def __init__(
        self, *, conninfo: str, channels: Collection[str], on_listening: Callable[[], None] = lambda: None
    ) -> None:
        self._conninfo = conninfo
        self._channels = list(channels)
        self._on_listening = on_listening
        self._subscribers: dict[Place, set[Subscription]] = defaultdict(set)
        self._observers: dict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None
        self.listening = False

    def listen_also(self, channels: Collection[str]) -> None:
        """Listen on these too; to be called before `start`."""
        self._channels += channels

    def subscribe(self, *places: Place) -> Subscription:
        """A subscription to these channels and keys, to be used as a `with` block. Raises `LookupError` for another channel."""
        for channel, _ in places:
            self._check(channel)
        return Subscription(self._subscribers, places)

    def observe(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback` with every payload on a channel. Raises `LookupError` for one that is not listened on."""
        self._check(channel)
        self._observers[channel].append(callback)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tell_all(self) -> None:
        """Have everybody look again."""
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.tell()

    def _check(self, channel: str) -> None:
        if channel not in self._channels:
            raise LookupError(
                f"nobody listens on the channel {channel}; there are {', '.join(self._channels)}"
            )

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, connect_timeout=3, application_name="ingestion-listen", **KEEPALIVE
                )  # fmt: skip
                async with connection:
                    for channel in self._channels:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    self.listening = True
                    self._on_listening()
                    self.tell_all()
                    async for notification in connection.notifies():
                        self._notified(notification.channel, notification.payload)
            except (psycopg.Error, OSError) as error:
                if self.listening:
                    log.warning("listening_interrupted", error=str(error).strip())
            finally:
                self.listening = False
            await asyncio.sleep(RECONNECT_S)

    def _notified(self, channel: str, payload: str) -> None:
        for callback in self._observers.get(channel, ()):
            try:
                callback(payload)
            except Exception:
                log.exception("notification_failed", channel=channel)
        for key in payload.split(","):
            for subscriber in self._subscribers.get((channel, key), ()):
                subscriber.tell()
