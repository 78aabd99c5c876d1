"""Reads that go through much of what is stored: in threads of their own, two of an asker at a time, each statement for seconds at most."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from ingestion_assets.frontdoor.door import FrontDoor, ledger_needed
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.shared_threads import SharedThreads
from ingestion_assets.stores.statement_limits import is_cancelled, limited

STATEMENT_S = 5.0
ANSWERS_WITHIN_S = 20.0
RETRY_S = 10.0

Value = TypeVar("Value")

_threads = SharedThreads(4, of_a_user=2, name="long-reads")


async def read_long(
    door: FrontDoor,
    who: str,
    work: Callable[[sa.Connection], Value],
    *,
    instead: str,
    statement_s: float = STATEMENT_S,
) -> Value:
    """What `work` gives, asked by `who`. Raises `Problem` 503 where it takes too long, with what is to be asked `instead`, or while the ledger is down."""

    def run() -> Value:
        with limited(door.engine, seconds=statement_s).begin() as connection:
            try:
                return work(connection)
            except OperationalError as error:
                if not is_cancelled(error):
                    raise
                said = f"This was given up after {statement_s:g} s, as it goes through too much. {instead}"
                raise Problem(503, said, retry_after_s=RETRY_S) from error

    async with ledger_needed(within_s=None):
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                return await _threads.run(who, run)
        except TimeoutError as error:
            raise Problem(
                503, "Other searches, of the same asker or of others, are still at work. Please ask again later.",
                retry_after_s=RETRY_S,
            ) from error  # fmt: skip
