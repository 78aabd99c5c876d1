"""Finding a receipt, also one that is asked for before its row is there: payloads that nobody waits for are acknowledged without."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.landing import ledger
from ingestion_assets.landing.clock import LedgerClock, time_of
from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.late_segments import register_late
from ingestion_assets.landing.storage import LandingStorage, written_at
from ingestion_assets.landing.tables import unreadable_segments

ROW_WITHIN = timedelta(seconds=1)  # as a rule: else the ledger was down, or the front door was killed
WRITTEN_WITHIN = timedelta(minutes=15)  # of its acceptance; a payload may lie in a segment of these minutes
FARTHEST_AHEAD = timedelta(days=1)  # of the ledger's clock: that of a front door which has never reached it
RECHECK_S = 0.02


class ReceiptLookup:
    """Reads receipts; waits for rows that are on their way, and writes those that do not come."""

    def __init__(
        self, *, engine: sa.Engine, async_engine: AsyncEngine, storage: LandingStorage, clock: LedgerClock
    ) -> None:
        self._engine = engine
        self._async_engine = async_engine
        self._storage = storage
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="receipt-lookup")
        self._sought = deque[datetime]()
        """When receipts were made that were asked for since the last look."""

    async def find(self, receipt_id: UUID) -> Receipt | None:
        """The receipt, None if it was never given out.

        Raises `LandingUnavailableError`, `SQLAlchemyError`; `Problem` 503 where it may lie in a segment that cannot be read.
        """
        receipt = await ledger.receipt(self._async_engine, receipt_id)
        if receipt is not None or receipt_id.version != 7:
            return receipt
        made = time_of(receipt_id)
        while receipt is None and abs(self._clock.now() - made) < ROW_WITHIN:
            await asyncio.sleep(RECHECK_S)
            receipt = await ledger.receipt(self._async_engine, receipt_id)
        if receipt is None:
            self._sought.append(made)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
            receipt = await ledger.receipt(self._async_engine, receipt_id)
        if receipt is None:
            await self._check_unreadable(receipt_id)
        return receipt

    def _look(self) -> None:
        """Around the times of all receipts that are sought, once for those that lie together; unless the look before this one did."""
        farthest = self._clock.now() + FARTHEST_AHEAD
        sought = [
            self._sought.popleft() for _ in range(len(self._sought))
        ]  # the event loop may append meanwhile
        try:
            for around in {
                made.replace(second=0, microsecond=0) if made < farthest else None for made in sought
            }:
                register_late(self._engine, self._storage, around=around, settled=ROW_WITHIN)
        except BaseException:
            self._sought.extend(sought)  # the others look for theirs themselves
            raise

    async def _check_unreadable(self, receipt_id: UUID) -> None:
        async with self._async_engine.connect() as connection:
            segments = (await connection.execute(sa.select(unreadable_segments))).all()
        for segment in segments:
            if abs(written_at(segment.path) - time_of(receipt_id)) < WRITTEN_WITHIN:
                raise Problem(
                    503,
                    f"This receipt is not known, but may belong to the segment {segment.path}, which cannot be read as a whole since "
                    f"{segment.since:%Y-%m-%d %H:%M:%S} UTC. Once that is restored or discarded, there is an answer.",
                    retry_after_s=60,
                    dependency="landing",
                )

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
