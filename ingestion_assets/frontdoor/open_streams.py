"""Answers that stay open for as long as there is something to tell: how many at once, and that they end with their client
or with its API key."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, TypeVar

from ingestion_assets.frontdoor.problems import Problem

Item = TypeVar("Item")


class OpenStreams:
    """The WebSockets and event streams of one front door, `most` at a time, at most a quarter of them (or two) for any one who asks."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._share = max(2, most // 4)
        self._of: defaultdict[str, dict[asyncio.Timeout, float]] = defaultdict(
            dict
        )  # since when each is open

    @property
    def open(self) -> int:
        """How many there are."""
        return sum(map(len, self._of.values()))

    def check(self, principal: str) -> None:
        """Raises `Problem` 503 where there are as many as there may be, and 429 where this one has a share of them."""
        if self.open >= self._most:
            raise Problem(
                503,
                f"This front door serves {self._most} WebSockets and event streams, as many as it may; try again later, or "
                "read the receipt instead.",
                retry_after_s=5,
            )
        if len(self._of.get(principal, ())) >= self._share:
            raise Problem(
                429,
                f"{principal} has {self._share} WebSockets and event streams open here, as many as one may; close some.",
                retry_after_s=5,
            )

    @contextlib.asynccontextmanager
    async def one_more(self, principal: str) -> AsyncIterator[asyncio.Timeout]:
        """Counts a stream until the end of the block, which `end` cuts short: then what is given is `expired`. Raises as `check`."""
        self.check(principal)
        cut = asyncio.timeout(None)
        try:
            async with cut:
                self._of[principal][cut] = time.monotonic()
                yield cut
        except TimeoutError:
            if not cut.expired():
                raise
        finally:
            self._of[principal].pop(cut, None)
            if not self._of[principal]:
                del self._of[principal]

    def ages_s(self) -> dict[str, float]:
        """Who has streams open, and for how many seconds the oldest has been."""
        now = time.monotonic()
        return {principal: now - min(since.values()) for principal, since in self._of.items()}

    def end(self, principal: str) -> None:
        """All streams of this one end now."""
        for cut in self._of.get(principal, ()):
            cut.reschedule(asyncio.get_running_loop().time())


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
