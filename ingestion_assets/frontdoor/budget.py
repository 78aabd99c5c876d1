"""How many bytes of request bodies one process holds at a time, over all requests."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from ingestion_assets.frontdoor.problems import Problem


class InflightBudget:
    """A pool of bytes. What does not fit waits its turn; what waits too long is sent away with 503.

    So is, at once, the request by whose waiting all memory would be held by requests that wait for more.
    """

    def __init__(self, *, limit_bytes: int, patience_s: float = 5.0) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._patience_s = patience_s
        self._held_by_waiting = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self) -> "Hold":
        """What one request holds; a context manager that gives everything back."""
        return Hold(self)

    def fits(self, size: int) -> bool:
        return not self._waiting and self.used_bytes + size <= self.limit_bytes

    def give_back(self, size: int) -> None:
        self.used_bytes -= size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if self.used_bytes + wanted > self.limit_bytes:
                break
            self._waiting.popleft()
            self.used_bytes += wanted
            turn.set_result(None)

    async def wait_for_room(self, size: int, *, held: int) -> None:
        """Take `size` bytes for a request that holds `held`. Raises a 503 `Problem` when that cannot be."""
        if self._held_by_waiting + held >= self.used_bytes:
            raise _too_busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._held_by_waiting += held
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._patience_s)
        except TimeoutError:
            self._give_up(size, turn)
            raise _too_busy() from None
        except asyncio.CancelledError:
            self._give_up(size, turn)
            raise
        finally:
            self._held_by_waiting -= held

    def _give_up(self, size: int, turn: "asyncio.Future[None]") -> None:
        granted = turn.done() and not turn.cancelled()
        turn.cancel()
        self.give_back(size if granted else 0)


def _too_busy() -> Problem:
    return Problem(
        503,
        "Too many large requests are being received; try again in a few seconds.",
        headers={"Retry-After": "5"},
    )


class Hold:
    """The bytes one request holds of the budget."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: InflightBudget) -> None:
        self._budget = budget
        self.size = 0

    async def grow(self, size: int) -> None:
        """Take `size` more bytes, waiting for room. Raises a 503 `Problem` when patience ends."""
        budget = self._budget
        if budget.fits(size):
            budget.used_bytes += size
        else:
            await budget.wait_for_room(size, held=self.size)
        self.size += size

    def shrink(self, size: int) -> None:
        """Give `size` bytes back early."""
        self.size -= size
        self._budget.give_back(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shrink(self.size)
