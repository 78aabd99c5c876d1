"""Following a source: for ever, whatever fails, with growing pauses, and told in `/health`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import structlog

from ingestion_assets.frontdoor.cancellation import heed_cancellation
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.stores.error_text import text_of
from ingestion_assets.zones.sources.source_config import Kafka, RedisStream, Source, Sqs

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

Take = Callable[[], Awaitable[None]]
"""Waits some seconds for messages, and takes those that there are."""

log = structlog.get_logger(__name__)


async def follow(door: FrontDoor, flow: str, source: Source) -> None:
    """Take the source's messages as payloads of the flow, until cancelled."""
    name = f"{flow}: {source.name}"
    pauses = _Pauses(door, name)
    try:
        while True:
            try:
                async with _opened(door, flow, source) as take:
                    while True:
                        heed_cancellation()
                        try:
                            door.backlog.admit(flow)
                            await take()
                        except (
                            LandingUnavailableError,
                            Problem,
                        ) as error:  # the source is not at fault: stay with it
                            await pauses.after(error)
                        else:
                            pauses.end()
            except Exception as error:
                await pauses.after(error)
    finally:
        door.dependencies.forget(name)


class _Pauses:
    """Growing pauses of what fails again and again, and what is said of it."""

    def __init__(self, door: FrontDoor, name: str) -> None:
        self._door = door
        self._name = name
        self._next_s = FIRST_PAUSE_S

    async def after(self, error: Exception) -> None:
        said = text_of(error)
        self._door.dependencies.report(self._name, said)
        log.warning("source_waits", source=self._name, error=said, pause_s=self._next_s)
        await asyncio.sleep(self._next_s)
        self._next_s = min(2 * self._next_s, LONGEST_PAUSE_S)

    def end(self) -> None:
        self._door.dependencies.report(self._name, None)
        self._next_s = FIRST_PAUSE_S


def _opened(door: FrontDoor, flow: str, source: Source) -> AbstractAsyncContextManager[Take]:
    """The source with its connections; who does not use a kind need not have its package."""
    match source:
        case RedisStream():
            from ingestion_assets.zones.sources import redis_streams  # noqa: PLC0415

            return redis_streams.opened(door, flow, source)
        case Sqs():
            from ingestion_assets.zones.sources import sqs  # noqa: PLC0415

            return sqs.opened(door, flow, source)
        case Kafka():
            from ingestion_assets.zones.sources import kafka  # noqa: PLC0415

            return kafka.opened(door, flow, source)
