"""Receipts as they change: requests that wait for an outcome, and streams that follow a payload to its end.

Each looks at the ledger when it hears of a change, and every `RECHECK_S` to make sure; looks at the same time are one query.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.frontdoor.notifications import Notifications
from ingestion_assets.landing.channels import FINISHED, PROGRESS
from ingestion_assets.landing.drops import Receipt

TERMINAL = frozenset({"done", "failed", "held"})  # nothing more comes by itself
OVER = frozenset({"done", "failed"})  # nothing more comes at all
RECHECK_S = 1.0
READ_S = 5.0

ReadReceipts = Callable[[Sequence[UUID]], Awaitable[dict[UUID, Receipt]]]


class ReceiptWatch:
    """Watches the receipts that somebody here waits for. `read` gives those of the ledger by the ids asked for."""

    def __init__(self, *, notifications: Notifications, read: ReadReceipts) -> None:
        self._notifications = notifications
        self._read = read
        self._asked: dict[UUID, asyncio.Future[Receipt | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False
        self.waiting = 0
        """How many requests wait for an outcome."""

    def release(self) -> None:
        """Let all who wait go on without an outcome, now and from now on: the process is about to stop."""
        self._stopping = True
        self._notifications.tell_all()

    async def outcome(self, drop_id: UUID, *, timeout_s: float, known: bool = False) -> Receipt | None:
        """The receipt once nothing more comes by itself; None if that takes longer or the process stops.

        `known`: the drop was there before, so that it may be finished already.
        """
        self.waiting += 1
        try:
            with self._notifications.subscribe((FINISHED, str(drop_id))) as news:
                async with asyncio.timeout(timeout_s):
                    if not known and not self._stopping:
                        await news.wait(RECHECK_S)
                    while not self._stopping:
                        receipt = await self._look(drop_id)
                        if receipt is not None and receipt.state in TERMINAL:
                            return receipt
                        await news.wait(RECHECK_S)
        except TimeoutError:
            pass
        finally:
            self.waiting -= 1
        return None

    async def follow(
        self, drop_id: UUID, *, quiet_s: float, seen: str | None = None
    ) -> AsyncGenerator[Receipt | None, None]:
        """The receipt now and whenever it or its progress has changed, until it is over or the process stops.

        The `version` that was `seen` already is left out. None after `quiet_s` seconds without a change. Who takes long to take
        one gets the newest next: none is kept for it.
        """
        places = [(channel, str(drop_id)) for channel in (FINISHED, PROGRESS)]
        told = seen
        told_at = asyncio.get_running_loop().time()
        with self._notifications.subscribe(*places) as news:
            while not self._stopping:
                receipt = await self._look(drop_id)
                now = asyncio.get_running_loop().time()
                if receipt is not None and version(receipt) != told:
                    told, told_at = version(receipt), now
                    yield receipt
                if receipt is not None and receipt.state in OVER:
                    return
                if now - told_at >= quiet_s:
                    told_at = now
                    yield None
                await news.wait(RECHECK_S)

    async def _look(self, drop_id: UUID) -> Receipt | None:
        """The receipt, None where the ledger does not answer or does not know it (yet)."""
        asked = self._asked.get(drop_id)
        if asked is None:
            asked = self._asked[drop_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_asked())
        return await asyncio.shield(asked)

    async def _read_asked(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                receipts: dict[UUID, Receipt] = {}
                try:
                    async with asyncio.timeout(READ_S):
                        receipts = await self._read(list(asked))
                except (SQLAlchemyError, OSError, TimeoutError):
                    pass  # looked at again in RECHECK_S
                finally:
                    for drop_id, future in asked.items():
                        if not future.done():
                            future.set_result(receipts.get(drop_id))
        finally:
            self._reading = None


def version(receipt: Receipt) -> str:
    """Tells one state of a receipt from another; the id of the event that shows it."""
    number = receipt.progress["number"] if receipt.progress else 0
    told = [
        str(number),
        receipt.state,
        str(receipt.attempts),
        (receipt.run_id or "")[:8],
        receipt.wanted or "",
    ]
    return "-".join(one for one in told if one)
