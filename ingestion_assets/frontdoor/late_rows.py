"""Receipts that are asked for before their row is there: payloads that nobody waits for are acknowledged without."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.reconciliation import SLACK, all_known_until, register_late
from ingestion_assets.landing.storage import LandingStorage

ROW_WITHIN_S = 1.0  # as a rule: else the ledger was down, or the front door was killed
RECHECK_S = 0.02


class LateRows:
    """Waits for rows that are on their way, and writes those that do not come."""

    def __init__(self, *, engine: sa.Engine, async_engine: AsyncEngine, storage: LandingStorage) -> None:
        self._engine = engine
        self._async_engine = async_engine
        self._storage = storage
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="late-rows")
        self._looked_at = 0.0

    async def receipt(self, receipt_id: UUID) -> Receipt | None:
        """The receipt, None if it was never given out. Raises `LandingUnavailableError`, `SQLAlchemyError`."""
        receipt = await ledger.receipt(self._async_engine, receipt_id)
        if receipt is not None:
            return receipt
        made = (receipt_id.int >> 80) / 1000  # a UUIDv7 begins with the time
        if abs(time.time() - made) < SLACK.total_seconds():
            end = time.monotonic() + min(ROW_WITHIN_S, max(0.0, made + ROW_WITHIN_S - time.time()))
            while receipt is None and time.monotonic() < end:
                await asyncio.sleep(RECHECK_S)
                receipt = await ledger.receipt(self._async_engine, receipt_id)
        if receipt is None and made <= time.time() + SLACK.total_seconds():
            asked = time.monotonic()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._look, made, asked)
            receipt = await ledger.receipt(self._async_engine, receipt_id)
        return receipt

    def _look(self, made: float, asked: float) -> None:
        """Unless all payloads of that time are known, or somebody has looked since it was asked for."""
        if self._looked_at > asked:
            return
        began = time.monotonic()
        with self._engine.connect() as connection:
            known_until = all_known_until(connection)
        if known_until is None or datetime.fromtimestamp(made, UTC) >= known_until - SLACK:
            register_late(self._engine, self._storage)
            self._looked_at = began

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
