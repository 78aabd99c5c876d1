"""How many bytes of request bodies one process keeps in memory at a time, over all requests."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from ingestion_assets.frontdoor.problems import Problem


class BodyMemory:
    """A pool of bytes. What does not fit waits its turn; what waits too long is sent away with 503.

    So is, at once, the request by whose waiting all memory would be reserved by requests that wait for more.
    """

    def __init__(self, *, limit_bytes: int, patience_s: float = 5.0) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._patience_s = patience_s
        self._reserved_by_waiting = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def reserve(self) -> "Reservation":
        """Nothing yet, for one request; a context manager that gives everything back."""
        return Reservation(self)

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

    async def wait_for_room(self, size: int, *, reserved: int) -> None:
        """Take `size` bytes for a request that has `reserved` so many. Raises a 503 `Problem` when that cannot be."""
        if self._reserved_by_waiting + reserved >= self.used_bytes:
            raise _too_busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._reserved_by_waiting += reserved
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._patience_s)
        except TimeoutError:
            self._give_up(size, turn)
            raise _too_busy() from None
        except asyncio.CancelledError:
            self._give_up(size, turn)
            raise
        finally:
            self._reserved_by_waiting -= reserved

    def _give_up(self, size: int, turn: "asyncio.Future[None]") -> None:
        granted = turn.done() and not turn.cancelled()
        turn.cancel()
        self.give_back(size if granted else 0)


def _too_busy() -> Problem:
    return Problem(
        503,
        "Too many large requests are being received; try again in a few seconds.",
        retry_after_s=5,
    )


class Reservation:
    """The bytes that one request has of the memory."""

    __slots__ = ("_memory", "size")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = 0

    async def grow(self, size: int) -> None:
        """Take `size` more bytes, waiting for room. Raises a 503 `Problem` when patience ends."""
        memory = self._memory
        if memory.fits(size):
            memory.used_bytes += size
        else:
            await memory.wait_for_room(size, reserved=self.size)
        self.size += size

    def shrink(self, size: int) -> None:
        """Give `size` bytes back early."""
        self.size -= size
        self._memory.give_back(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shrink(self.size)
