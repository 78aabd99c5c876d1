"""The zones that a front door knows: as the ledger has them, or had them when it was last to be reached."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.stores.durable_files import write_private
from ingestion_assets.stores.error_text import text_of
from ingestion_assets.zones import in_force
from ingestion_assets.zones.document import ZoneDocument, decoded
from ingestion_assets.zones.web.followed_sources import FollowedSources
from ingestion_assets.zones.web.unverified import Refusals
from ingestion_assets.zones.web.zone_senders import Sender, sender_of
from ingestion_assets.zones.zone_flow import flow_of

FILE = "zones.json"
LOOK_S = 2.0

log = structlog.get_logger(__name__)


class KnownZones:
    """By name what is in force. Empty until the first look."""

    def __init__(self) -> None:
        self.documents: Mapping[str, ZoneDocument] = {}
        self.refused: Mapping[str, str] = {}
        """By name why a newer document of a zone is not in force, or a zone not at all, or why it cannot be read here."""
        self._senders: dict[str, Sender | None] = {}

    def document(self, name: str) -> ZoneDocument:
        """Raises `Problem` 404."""
        document = self.documents.get(name)
        if document is None:
            raise Problem(
                404, "There is no drop zone of that name; GET /api/v1/zones lists those that there are."
            )
        return document

    def sender(self, door: FrontDoor, document: ZoneDocument) -> Sender | None:
        """None for a zone whose sender does not sign. Raises `Problem` 503 where its secrets cannot be opened here."""
        if document.name not in self._senders:
            self._senders[document.name] = sender_of(door, document)
        return self._senders[document.name]

    def take(self, documents: Mapping[str, ZoneDocument], refused: Mapping[str, str]) -> bool:
        """Go by these from now on; whether they are others than before."""
        same = documents == self.documents and refused == self.refused
        self.documents, self.refused = documents, refused
        if not same:
            self._senders = {}
        return not same

    def health(self) -> dict[str, Any]:
        """What `/health` says of zones."""
        return {"zones": sorted(self.documents), "zones_refused": dict(self.refused)}

    def curls(self) -> dict[str, str]:
        """By zone what follows the front door's address in a command that sends a first payload."""
        return {
            name: f"/api/v1/drops/{name} -H 'Content-Type: application/json' -d '[{{}}]'"
            for name in self.documents
        }


async def follow_zones(door: FrontDoor, known: KnownZones, refusals: Refusals) -> None:
    """Learn what comes into force and write down what was turned away, until cancelled; while the ledger is away, go by what was noted in the home."""
    path = door.settings.home / FILE
    noted = await asyncio.to_thread(_noted, path)
    if noted and not known.documents:
        _take(door, known, noted, {})
    sources = FollowedSources()
    sources.follow_those_of(door, known.documents)
    try:
        with door.notifications.subscribe((in_force.CHANNEL, "")) as told:
            while True:
                await _look(door, known, refusals, path)
                sources.follow_those_of(door, known.documents)
                await told.wait(LOOK_S)
    finally:
        await sources.stop()


async def _look(door: FrontDoor, known: KnownZones, refusals: Refusals, path: Path) -> None:
    try:
        zones, unread = await asyncio.get_running_loop().run_in_executor(door.threads, _read, door, refusals)
    except (SQLAlchemyError, OSError) as error:
        log.debug("zones_not_followed", error=str(error).splitlines()[:1])
        return
    documents = {zone.document.name: zone.document for zone in zones}
    refused = {zone.document.name: zone.refused for zone in zones if zone.refused} | unread
    if _take(door, known, documents, refused):
        await asyncio.to_thread(_note, path, documents)
        log.info("zones_in_force", zones=sorted(documents), refused=dict(refused))


def _take(
    door: FrontDoor, known: KnownZones, documents: Mapping[str, ZoneDocument], refused: Mapping[str, str]
) -> bool:
    taken = {
        name: f"{name} is the name of a flow that is installed here"
        for name in documents
        if name in door.flows.installed
    }  # by a front door that has more flows than the zone's code location
    documents = {name: document for name, document in documents.items() if name not in taken}
    if not known.take(documents, {**refused, **taken}):
        return False
    door.flows.take({name: flow_of(document) for name, document in documents.items()})
    door.waker.wake_all(documents)
    return True


def _read(door: FrontDoor, refusals: Refusals) -> tuple[list[in_force.InForce], dict[str, str]]:
    with door.engine.connect() as connection:
        if connection.scalar(sa.text("SELECT to_regclass('ingestion.zones')::text")) is None:
            return [], {}
        zones, unread = in_force.read(connection)
        never = in_force.never_in_force(connection)
    try:
        refusals.write(door.engine)
    except SQLAlchemyError as error:
        log.warning("unverified_deliveries_not_noted", error=text_of(error))
    known = {zone.document.name for zone in zones}
    return zones, {name: why for name, why in never.items() if name not in known} | unread


def _noted(path: Path) -> dict[str, ZoneDocument]:
    found: dict[str, ZoneDocument] = {}
    with contextlib.suppress(OSError, msgspec.DecodeError):
        for document in msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw]):
            with contextlib.suppress(msgspec.ValidationError):
                zone = decoded(bytes(document))
                found[zone.name] = zone
    return found


def _note(path: Path, documents: Mapping[str, ZoneDocument]) -> None:
    text = b"[" + b",".join(document.encoded() for document in documents.values()) + b"]"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text.decode())
    except OSError as error:
        log.warning("zones_not_noted", error=str(error))
