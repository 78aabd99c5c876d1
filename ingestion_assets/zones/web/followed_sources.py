"""The sources of zones in force, each followed by a task of its own."""

import asyncio
from collections.abc import Mapping

import msgspec
import structlog

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.sources.following import follow
from ingestion_assets.zones.sources.source_config import SourceError, read_source

log = structlog.get_logger(__name__)


class FollowedSources:
    """What is followed now, by zone and source."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, bytes], asyncio.Task[None]] = {}

    def follow_those_of(self, door: FrontDoor, documents: Mapping[str, ZoneDocument]) -> None:
        """Follow the sources of these zones, and no others."""
        wanted = {
            (name, msgspec.json.encode(source)): source
            for name, document in documents.items()
            for source in document.sources
        }
        for place in self._tasks.keys() - wanted.keys():
            self._tasks.pop(place).cancel()
        for (name, written), source in wanted.items():
            if (name, written) in self._tasks:
                continue
            try:
                task = asyncio.create_task(follow(door, name, read_source(source)))
            except SourceError as error:  # of a newer release, say
                log.error("source_not_followed", zone=name, reason=str(error))
                continue
            self._tasks[name, written] = task

    async def stop(self) -> None:
        """End them all; what is in hand and did not land is delivered again."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
