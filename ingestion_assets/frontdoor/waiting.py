"""Requests that wait for an outcome: one LISTEN connection for all, and a look at the ledger to make sure."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from uuid import UUID

import msgspec
import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing.channels import FINISHED, LANE_FREE
from ingestion_assets.landing.drops import Lane, Receipt
from ingestion_assets.stores.postgres import KEEPALIVE

TERMINAL = frozenset({"done", "failed", "held"})  # nothing more comes by itself
RECHECK_S = 1.0
READ_S = 5.0
RECONNECT_S = 0.5

log = structlog.get_logger(__name__)

ReadReceipts = Callable[[Sequence[UUID]], Awaitable[dict[UUID, Receipt]]]


class _LaneFree(msgspec.Struct):
    flow: str
    lane: str


class FinishedDrops:
    """Tells waiting requests when their drop is done or failed.

    `observe` is called with every id that finishes, waited for or not; `lane_free` with lanes that a run has left,
    which the same connection hears of; `deaf` each time it begins to listen, as it may have missed something.
    """

    def __init__(
        self,
        *,
        conninfo: str,
        read: ReadReceipts,
        observe: Callable[[Sequence[UUID]], None],
        lane_free: Callable[[set[Lane]], None],
        deaf: Callable[[], None],
    ) -> None:
        self._conninfo = conninfo
        self._read = read
        self._observe = observe
        self._lane_free = lane_free
        self._deaf = deaf
        self._waiting: dict[UUID, set[asyncio.Future[Receipt | None]]] = {}
        self._announced: set[UUID] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.listening = False

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._resolve())]

    async def stop(self) -> None:
        self.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Let all who wait go on without an outcome, now and from now on: the process is about to stop."""
        self._stopping = True
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiting.values()))

    async def outcome(self, drop_id: UUID, *, timeout_s: float, known: bool = False) -> Receipt | None:
        """The receipt once the drop is done or failed; None if that takes longer or the process stops.

        `known`: the drop was there before, so that it may be finished already.
        """
        if self._stopping:
            return None
        future: asyncio.Future[Receipt | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(drop_id, set()).add(future)
        if known:
            self._announce([drop_id])
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            futures = self._waiting.get(drop_id)
            if futures is not None:
                futures.discard(future)
                if not futures:
                    del self._waiting[drop_id]

    def _announce(self, ids: Iterable[UUID]) -> None:
        self._announced.update(ids)
        self._wake.set()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, connect_timeout=3, application_name="ingestion-listen", **KEEPALIVE
                )  # fmt: skip
                async with connection:
                    await connection.execute(f"LISTEN {FINISHED}")
                    await connection.execute(f"LISTEN {LANE_FREE}")
                    self.listening = True
                    self._deaf()
                    async for notification in connection.notifies():
                        if notification.channel == FINISHED:
                            self._notified(notification.payload)
                        else:
                            self._left(notification.payload)
            except (psycopg.Error, OSError) as error:
                if self.listening:
                    log.warning("listening_interrupted", error=str(error).strip())
            finally:
                self.listening = False
            await asyncio.sleep(RECONNECT_S)

    def _notified(self, payload: str) -> None:
        ids: list[UUID] = []
        for part in payload.split(","):
            with contextlib.suppress(ValueError):
                ids.append(UUID(part))
        self._observe(ids)
        waited_for = [drop_id for drop_id in ids if drop_id in self._waiting]
        if waited_for:
            self._announce(waited_for)

    def _left(self, payload: str) -> None:
        try:
            lane = msgspec.json.decode(payload, type=_LaneFree)
        except msgspec.MsgspecError:
            return
        self._lane_free({Lane(lane.flow, "", lane.lane)})

    async def _resolve(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RECHECK_S):
                    await self._wake.wait()
            except TimeoutError:
                self._announced.update(self._waiting)
            self._wake.clear()
            asked, self._announced = [one for one in self._announced if one in self._waiting], set()
            if asked:
                await self._answer(asked)

    async def _answer(self, asked: list[UUID]) -> None:
        try:
            async with asyncio.timeout(READ_S):
                receipts = await self._read(asked)
        except (SQLAlchemyError, OSError, TimeoutError):
            return  # looked at again in RECHECK_S
        for drop_id, receipt in receipts.items():
            if receipt.state not in TERMINAL:
                continue
            for future in self._waiting.get(drop_id, ()):
                if not future.done():
                    future.set_result(receipt)
