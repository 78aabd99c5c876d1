"""Following the definition files while the front door runs: what changes there becomes active without a restart."""

import asyncio
import time
from typing import Any

import httpx
import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.entities.activation import judge
from ingestion_assets.entities.active_definitions import Note, current_version, defined_entities
from ingestion_assets.entities.definition_files import FaultyDefinitionsError, definition_paths, stamps
from ingestion_assets.entities.flow import NAME
from ingestion_assets.frontdoor.dagster_graphql import (
    DagsterError,
    dagster_client,
    defined_metadata,
    reload_code_location,
)
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.stores.refusals import is_outage

POLL_S = 1.0
RELOAD_AGAIN_S = 30.0
VERSION = "definition"
"""The metadata of an entity's asset that names the version of its definition."""
AGAIN_S = 10.0
"""Seconds after which refused definitions are judged again: the tables may have been repaired."""
LONGEST_AGAIN_S = 3600.0
PART = "entity_definitions"
"""What `/health` and the metrics call the definitions."""

log = structlog.get_logger(__name__)


def again_after(times: int, *, costly: bool) -> float:
    """Seconds after which definitions are judged again that were refused so many times in a row.

    To see that a table is not as it should be costs nothing; to look at its rows, or to have PostgreSQL try, reads and locks it.
    """
    return AGAIN_S if not costly else min(AGAIN_S * 2.0 ** min(times - 1, 20), LONGEST_AGAIN_S)


async def follow_definitions(door: FrontDoor) -> None:
    """Activate changed files until cancelled: tables first, then this process and the workers, then the UI."""
    async with dagster_client(door.settings) as dagster:
        following = _Following(door, dagster)
        while True:
            try:
                await following.look()
            except (SQLAlchemyError, psycopg.Error, OSError, httpx.HTTPError) as error:
                log.debug("definitions_not_followed", error=str(error).splitlines()[:1])
            except Exception:
                log.exception("definitions_not_followed")
            await asyncio.sleep(POLL_S)


class _Following:
    def __init__(self, door: FrontDoor, dagster: httpx.AsyncClient) -> None:
        self._door = door
        self._dagster = dagster
        self._seen: object = None
        self._judged: object = None
        self._judged_at = 0.0
        self._note: Note | None = None
        self._times = 0
        self._located: str | None = None
        self._not_before = 0.0

    async def look(self) -> None:
        stamp = await asyncio.to_thread(self._stamps)
        settled, self._seen = stamp == self._seen or self._judged is None, stamp
        refused = self._note is None or self._note.refused is not None
        pause = again_after(self._times, costly=self._note is not None and self._note.costly)
        due = stamp != self._judged or (refused and time.monotonic() - self._judged_at > pause)
        if settled and due:  # a file that is being written is left alone for a moment
            await self._judge()
            self._judged, self._judged_at = stamp, time.monotonic()
        version = await asyncio.to_thread(current_version)
        if not self._door.settings.asks_dagster:  # its code location is loaded again by hand
            return
        if self._note is not None and self._located != version and time.monotonic() > self._not_before:
            await self._locate(version)

    def _stamps(self) -> object:
        return stamps(definition_paths(self._door.settings.home))

    async def _judge(self) -> None:
        home, before = self._door.settings.home, self._note

        def work(connection: sa.Connection) -> Note:
            raw: Any = connection.connection.driver_connection
            return judge(raw, definition_paths(home), home=home)

        try:
            note = await asyncio.to_thread(self._with_connection, work)
        except (FaultyDefinitionsError, OSError, psycopg.Error) as error:
            if isinstance(error, psycopg.Error) and is_outage(error):
                raise
            self._note = None  # none to go back to, nowhere to note which are active, nothing that the tables let be seen
            self._tell(str(error))
            return
        self._note = note
        again = before is not None and before.files == note.files and before.refused and note.refused
        self._times = self._times + 1 if again else 1
        self._tell(note.refused)
        if note.refused is not None and (before is None or before.refused != note.refused):
            log.error("definitions_refused", reason=note.refused, active=_names(note))
        elif note.refused is None and before is not None and before != note:
            log.warning("definitions_activated", entities=_names(note))

    def _tell(self, refused: str | None) -> None:
        """Say so in `/health`, which anybody may read: without the place of the home."""
        said = None if refused is None else refused.replace(f"{self._door.settings.home}/", "")
        self._door.dependencies.report(PART, said)

    def _with_connection(self, work: Any) -> Any:
        with self._door.engine.begin() as connection:
            return work(connection)

    async def _locate(self, version: str) -> None:
        """See to it that Dagster's code location is made from the active definitions."""
        try:
            known = await defined_metadata(self._dagster, group=NAME, label=VERSION)
            if known != {entity.version for entity in defined_entities().entities}:
                await reload_code_location(self._dagster)
                log.info("code_location_reloaded", definitions=version)
        except DagsterError as error:
            log.warning("code_location_not_reloaded", error=str(error))
            self._not_before = time.monotonic() + RELOAD_AGAIN_S
        else:
            self._located = version


def _names(note: Note) -> list[str]:
    return [entity.entity for entity in note.entities]
