"""How old each flow's newest payload is, looked up at most every `LOOK_S` seconds however often it is asked for."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.landing.freshness import newest_ages_s

LOOK_S = 10.0
READ_S = 3.0

log = structlog.get_logger(__name__)


class PayloadAges:
    """Of the flows that `flows` names at the time."""

    def __init__(self, engine: AsyncEngine, flows: Callable[[], Collection[str]]) -> None:
        self._engine = engine
        self._flows = flows
        self._known: Mapping[str, float] | None = None
        self._looked_at = float("-inf")

    async def now(self) -> Mapping[str, float] | None:
        """By flow the seconds since its newest payload that was known at the last look; None while the ledger is down."""
        if time.monotonic() - self._looked_at > LOOK_S:
            self._looked_at = time.monotonic()
            try:
                async with asyncio.timeout(READ_S), self._engine.connect() as connection:
                    flows = list(self._flows())
                    self._known = await connection.run_sync(lambda sync: newest_ages_s(sync, flows))
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.debug("payload_ages_unavailable", error=str(error))
                self._known = None
        passed_s = time.monotonic() - self._looked_at
        return self._known and {flow: age_s + passed_s for flow, age_s in self._known.items()}
