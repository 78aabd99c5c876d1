"""The ledger's figures are read once, however many ask at once."""

import asyncio

from ingestion_assets.frontdoor.admission import Backlog
from ingestion_assets.landing.ledger import LedgerStatistics

FIGURES = LedgerStatistics(
    unfinished={}, finished_last_hour={}, open_rejects={}, waiting_s={}, expected_wait_s={}
)


def test_who_asks_meanwhile_waits_for_the_same_read() -> None:
    async def work() -> int:
        reads = 0

        async def read() -> LedgerStatistics:
            nonlocal reads
            reads += 1
            await asyncio.sleep(0.05)
            return FIGURES

        backlog = Backlog(read=read, flows={})
        impatient = asyncio.create_task(backlog.refresh())
        await asyncio.sleep(0)
        impatient.cancel()  # takes nothing from the others
        answers = await asyncio.gather(*(backlog.refresh() for _ in range(100)))
        assert answers == [FIGURES] * 100
        return reads

    assert asyncio.run(work()) == 1
