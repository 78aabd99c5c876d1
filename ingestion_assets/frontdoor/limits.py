"""How often one key may ask: sliding windows shared by all front doors, kept locally while the shared store is down."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import structlog
from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

CALL_S = 0.5
PROBE_S = 1.0

log = structlog.get_logger(__name__)

_Limiter = SlidingWindowCounterRateLimiter | MovingWindowRateLimiter


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and what the `RateLimit` headers say. Times in seconds.

    `next_after_s`: when the next request would pass; None without a limit.
    """

    allowed: bool
    headers: tuple[tuple[str, str], ...] = ()
    retry_after_s: float = 0
    next_after_s: float | None = None


PASS = Verdict(True)


@dataclass(slots=True)
class _Line:
    """Requests of one key that are judged together by the next call to the store."""

    waiting: list["asyncio.Future[Verdict]"] = field(default_factory=list)
    running: bool = False


class RateLimits:
    """Judges requests by `policy`, in the notation of the `limits` library; an empty policy lets all pass.

    Requests of one key that come while its last call to the store is under way share the next call. A call that fails or
    takes over `CALL_S` switches to a local limiter at once; the store is tried again in the background. `exact` remembers
    every request of the window, where the default reckons with the share of the last one: for low limits that are promised.
    """

    def __init__(self, *, policy: str, store_url: str | None, exact: bool = False) -> None:
        self._items: list[RateLimitItem] = list(parse_many(policy)) if policy.strip() else []
        strategy = MovingWindowRateLimiter if exact else SlidingWindowCounterRateLimiter
        self._local: _Limiter = strategy(MemoryStorage())
        self._shared: _Limiter | None = None
        self._storage: RedisStorage | None = None
        if store_url and self._items:
            self._storage = RedisStorage(
                f"async+{store_url}", implementation="redispy",
                socket_timeout=CALL_S, socket_connect_timeout=CALL_S, max_connections=32,
            )  # fmt: skip
            self._shared = strategy(self._storage)
        self._lines: dict[str, _Line] = {}
        self._probe: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.policy_header = ", ".join(
            f'"{_name(item)}";q={item.amount};w={item.get_expiry()}' for item in self._items
        )

    @property
    def mode(self) -> str:
        """`off`, `shared`, or `local` while (or because) there is no shared store."""
        if not self._items:
            return "off"
        return "shared" if self._shared is not None and self._probe is None else "local"

    async def stop(self) -> None:
        tasks = [*self._tasks, *([self._probe] if self._probe else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def judge(self, name: str) -> Verdict:
        """Count one request of the key `name`."""
        if not self._items:
            return PASS
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line()
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        line.waiting.append(future)
        if not line.running:
            line.running = True
            task = asyncio.create_task(self._serve(name, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _serve(self, name: str, line: _Line) -> None:
        try:
            while line.waiting:
                group, line.waiting = line.waiting, []
                verdicts = await self._decide(name, len(group))
                for future, verdict in zip(group, verdicts, strict=True):
                    if not future.done():
                        future.set_result(verdict)
        finally:
            line.running = False
            self._lines.pop(name, None)

    async def _decide(self, name: str, count: int) -> list[Verdict]:
        if self._shared is not None and self._probe is None:
            try:
                async with asyncio.timeout(CALL_S):
                    return await self._count(self._shared, name, count)
            except Exception as error:
                self._fall_back(error)
        return await self._count(self._local, name, count)

    async def _count(self, limiter: _Limiter, name: str, count: int) -> list[Verdict]:
        passed = count
        refused: RateLimitItem | None = None
        for item in self._items:
            granted = await _take(limiter, item, name, passed)
            if granted < passed:
                passed, refused = granted, item
        stats = [(item, await limiter.get_window_stats(item, name)) for item in self._items]
        now = time.time()
        parts, resets = [], {}
        for item, window in stats:
            resets[item] = max(0.0, window.reset_time - now)
            parts.append(f'"{_name(item)}";r={max(0, window.remaining)};t={int(resets[item]) + 1}')
        headers = (("RateLimit-Policy", self.policy_header), ("RateLimit", ", ".join(parts)))
        spent = [resets[item] for item, window in stats if window.remaining <= 0]
        verdicts = [Verdict(True, headers, next_after_s=max(spent, default=0.0))] * passed
        if refused is not None:
            verdicts += [Verdict(False, headers, max(1.0, resets[refused]))] * (count - passed)
        return verdicts

    def _fall_back(self, error: BaseException) -> None:
        log.warning("rate_limits_local", error=repr(error))
        if self._probe is None:
            self._probe = asyncio.create_task(self._until_back())

    async def _until_back(self) -> None:
        storage: Any = self._storage
        while True:
            await asyncio.sleep(PROBE_S)
            try:
                async with asyncio.timeout(CALL_S):
                    if await storage.check():
                        break
            except Exception as error:
                log.debug("rate_limit_store_down", error=repr(error))
        log.info("rate_limits_shared")
        self._probe = None


async def _take(limiter: _Limiter, item: RateLimitItem, name: str, count: int) -> int:
    """How many of `count` requests the window still takes: all at once where they fit, else by halves."""
    if await limiter.hit(item, name, cost=count):
        return count
    if count == 1:
        return 0
    half = count // 2
    granted = await _take(limiter, item, name, half)
    return granted + (await _take(limiter, item, name, count - half) if granted == half else 0)


def _name(item: RateLimitItem) -> str:
    return (
        f"per-{item.GRANULARITY.name}"
        if item.multiples == 1
        else f"per-{item.multiples}-{item.GRANULARITY.name}s"
    )
