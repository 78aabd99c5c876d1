"""How many connections a front door holds: as many as it has descriptors for, whoever keeps them open for nothing."""

import resource
import time
from collections.abc import Collection
from functools import lru_cache
from typing import Protocol

import structlog

RESERVED = 64  # descriptors for segments, stores and whatever else is open
WARN_EVERY_S = 10.0

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """`idle_since`: since when it has had no whole request (loop time); None while one is being answered."""

    @property
    def idle_since(self) -> float | None: ...

    def abandon(self) -> None: ...


class Bounds:
    """`most` connections in all, `most_idle` of them without a whole request: a half, or all but 512 of many descriptors."""

    def __init__(self, descriptors: int) -> None:
        self.most = max(descriptors - RESERVED, descriptors // 2)
        self.most_idle = max(descriptors // 2, descriptors - 512)
        self._closed = 0
        self._warned_at = -WARN_EVERY_S

    def make_room(self, connections: Collection[Connection]) -> None:
        """Close the oldest of `connections` without a whole request, if there are too many; a sixteenth more than that, so
        that not every further one has to look at them all.
        """
        if len(connections) <= self.most_idle:
            return
        idle = [(since, one) for one in connections if (since := one.idle_since) is not None]
        over = max(len(idle) - self.most_idle, len(connections) - self.most)
        if over <= 0:
            return
        idle.sort(key=lambda pair: pair[0])
        oldest = idle[: over + (self.most_idle // 16 if len(idle) > self.most_idle else 0)]
        for _, connection in oldest:
            connection.abandon()
        self._closed += len(oldest)
        if time.monotonic() - self._warned_at >= WARN_EVERY_S:
            log.warning("connections_closed", number=self._closed, most=self.most, most_idle=self.most_idle)
            self._closed, self._warned_at = 0, time.monotonic()


def raise_descriptor_limit() -> None:
    """As many open files as this process may have: the soft limit becomes the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("descriptor_limit_stays", limit=soft, error=str(error))


@lru_cache(maxsize=1)
def bounds() -> Bounds:
    """Those of this process, by its limit at the first asking."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Bounds(2**20 if soft == resource.RLIM_INFINITY else soft)
