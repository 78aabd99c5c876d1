"""Threads that users share: one user's work never takes all of them, and all of it is done."""

import asyncio
import threading

import pytest

from ingestion_assets.frontdoor.shared_threads import SharedThreads

PATIENCE_S = 30


def test_a_user_whose_work_takes_long_holds_up_nobody_else() -> None:
    shared, may_end = SharedThreads(3, of_a_user=2, name="test"), threading.Event()
    at_once: list[int] = []
    begun = threading.Semaphore(0)

    def long(number: int) -> int:
        at_once.append(number)
        begun.release()
        assert may_end.wait(PATIENCE_S)
        return number

    async def all_of_it() -> None:
        many = [asyncio.ensure_future(shared.run("many", lambda one=one: long(one))) for one in range(20)]
        await asyncio.sleep(0)
        for _ in range(2):
            assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE_S)
        for other in ("a", "b", "c", "c"):
            assert await asyncio.wait_for(shared.run(other, lambda one=other: one), PATIENCE_S) == other
        assert at_once == [0, 1]
        may_end.set()
        assert await asyncio.gather(*many) == list(range(20))

    asyncio.run(all_of_it())


def test_what_work_raises_is_raised_and_the_next_is_done() -> None:
    shared = SharedThreads(1, of_a_user=1, name="test")

    def failing() -> None:
        raise LookupError("no such thing")

    async def all_of_it() -> None:
        first, second = await asyncio.gather(
            shared.run("a", failing), shared.run("a", lambda: 2), return_exceptions=True
        )
        assert (repr(first), second) == ("LookupError('no such thing')", 2)
        with pytest.raises(LookupError):
            await shared.run("a", failing)

    asyncio.run(all_of_it())
