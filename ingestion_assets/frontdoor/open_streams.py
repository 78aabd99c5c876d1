"""Answers that stay open for as long as there is something to tell: how many at once, and that they end with their client."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import Any, TypeVar

from ingestion_assets.frontdoor.problems import Problem

Item = TypeVar("Item")


class OpenStreams:
    """The WebSockets and event streams of one front door, `most` at a time, at most a quarter of them (or two) for any one who asks."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._share = max(2, most // 4)
        self._of: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._of.total()

    def check(self, principal: str) -> None:
        """Raises `Problem` 503 where there are as many as there may be, and 429 where this one has a share of them."""
        if self.open >= self._most:
            raise Problem(
                503,
                f"This front door serves {self._most} WebSockets and event streams, as many as it may; try again later, or "
                "read the receipt instead.",
                retry_after_s=5,
            )
        if self._of[principal] >= self._share:
            raise Problem(
                429,
                f"{principal} has {self._share} WebSockets and event streams open here, as many as one may; close some.",
                retry_after_s=5,
            )

    @contextlib.contextmanager
    def one_more(self, principal: str) -> Iterator[None]:
        """Counts a stream until the end of the block. Raises as `check`."""
        self.check(principal)
        self._of[principal] += 1
        try:
            yield
        finally:
            self._of[principal] -= 1
            self._of += Counter()  # forgets those who have none


async def until_gone(
    gone: Awaitable[object], items: AsyncGenerator[Item, None]
) -> AsyncGenerator[Item, None]:
    """The items, until there are no more or `gone` is over: the client has left. Then both are ended."""
    leaving = asyncio.ensure_future(gone)
    try:
        while True:
            following = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    return
                item = following.result()
            except StopAsyncIteration:
                return
            finally:
                await _end(following)
            yield item
    finally:
        await _end(leaving)
        await items.aclose()


async def _end(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
