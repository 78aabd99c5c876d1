"""Whether a flow's new payloads are still let in: not while one has been waiting for too long, or a new one would.

What is too long, the flow says. What a run works on does not wait: a run of hours closes nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.frontdoor.problems import Problem, retry_after_header
from ingestion_assets.landing.flows import TOO_LONG, Flow
from ingestion_assets.landing.ledger import LedgerStatistics

FRESH_S = 2.0
STALE_S = 30.0
READ_S = 3.0

log = structlog.get_logger(__name__)


class Backlog:
    """The ledger's figures, read at most every `FRESH_S` seconds however often they are asked for.

    `limit_s`: from when on payloads of any flow are turned away, instead of what follows from each flow's normal wait.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Awaitable[LedgerStatistics]],
        flows: Mapping[str, Flow],
        limit_s: float | None = None,
    ) -> None:
        self._read = read
        self._flows = flows
        self._limit_s = limit_s
        self._statistics: LedgerStatistics | None = None
        self._read_at = -STALE_S
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self) -> LedgerStatistics | None:
        """The figures, newly read where they are not fresh; None while the ledger is down."""
        if time.monotonic() - self._read_at > FRESH_S:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_anew())
            await asyncio.shield(self._reading)  # others wait for it too
        return self._statistics

    async def _read_anew(self) -> None:
        try:
            async with asyncio.timeout(READ_S):
                self._statistics = await self._read()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.debug("ledger_statistics_unavailable", error=str(error))
            self._statistics = None
        self._read_at = time.monotonic()

    def overdue(self, statistics: LedgerStatistics) -> list[str]:
        """The flows that have a payload waiting for longer than is normal."""
        return sorted(
            name
            for name, flow in self._flows.items()
            if statistics.waiting_s.get(name, 0.0) > flow.runs.waits_normally_s
        )

    def without_worker(self, statistics: LedgerStatistics, idle: Collection[str]) -> dict[str, str]:
        """The flows whose payloads wait for a queue that no worker takes (one of `idle`), and which that is."""
        return {
            name: flow.runs.queue
            for name, flow in sorted(self._flows.items())
            if flow.runs.queue in idle and statistics.unfinished.get((name, "landed"))
        }

    def admit(self, flow: str) -> None:
        """Raises `Problem` 503 while the flow is too far behind. Reads nothing."""
        known = self._statistics
        if known is None or time.monotonic() - self._read_at > STALE_S:
            return
        limit = self._limit_s or TOO_LONG * self._flows[flow].runs.waits_normally_s
        age = known.waiting_s.get(flow, 0.0)
        if age > limit:
            why = f"has been waiting for {age:.0f} s (limit {limit:.0f} s): its runs are behind, or fail"
            raise _behind(flow, why, over_s=age - limit)
        expected = known.expected_wait_s.get(flow, 0.0)
        if expected > limit:
            why = f"would wait for some {expected:.0f} s (limit {limit:.0f} s): so much is before it, at the pace of the last minutes"
            raise _behind(flow, why, over_s=expected - limit)


def _behind(flow: str, why: str, *, over_s: float) -> Problem:
    return Problem(
        503,
        f"A payload of {flow} {why}; nothing was accepted, try again later.",
        headers={"Retry-After": retry_after_header(min(60.0, max(5.0, over_s / 2)))},
        dependency="workers",
    )
