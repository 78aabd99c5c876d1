"""Zones that are in force: the ledger holds their documents, whoever works with a zone reads them there.

A zone belongs to the code location that published it first. A document that is refused changes nothing: the one before stays.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing.flows import Flow
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import sealer, secret_keys
from ingestion_assets.zones.document import ZoneDocument, ZoneError, decoded
from ingestion_assets.zones.zone_flow import flow_of

CHANNEL = "ingestion_zones"
"""The channel on which PostgreSQL tells that another document is in force."""
SEEN_EVERY_S = 60.0
REFUSED_S = 900.0
"""For so long a zone that never was in force is told of after its location tried last: a few times as long as it pauses between tries."""

_ALL = sa.text(
    "SELECT name, location, version, document, refused, published_at, seen_at FROM ingestion.zones ORDER BY name"
)
_ONE = sa.text("SELECT location, version, refused, seen_at < clock_timestamp() - make_interval(secs => :every_s) AS unseen "
               "FROM ingestion.zones WHERE name = :name FOR UPDATE")  # fmt: skip
_DOCUMENT = sa.text("SELECT document FROM ingestion.zones WHERE name = :name")
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('ingestion.zones ' || :name, 0))")
_PUT = sa.text("""
    INSERT INTO ingestion.zones (name, location, version, document) VALUES (:name, :location, :version, :document)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, document = excluded.document, refused = NULL,
        published_at = clock_timestamp(), seen_at = clock_timestamp()
""")
_REFUSE = sa.text("""
    UPDATE ingestion.zones SET refused = :refused, seen_at = clock_timestamp()
    WHERE name = :name AND location = :location AND refused IS DISTINCT FROM :refused
""")
_REFUSE_NEW = sa.text("""
    INSERT INTO ingestion.refused_zones (name, location, refused)
    SELECT :name, :location, :refused WHERE NOT EXISTS (SELECT FROM ingestion.zones WHERE name = :name AND location = :location)
    ON CONFLICT (name, location) DO UPDATE SET refused = excluded.refused, seen_at = clock_timestamp()
""")
_NEVER = sa.text("""
    SELECT DISTINCT ON (name) name, refused FROM ingestion.refused_zones
    WHERE seen_at > clock_timestamp() - make_interval(secs => :kept_s) ORDER BY name, seen_at DESC
""")
_FORGET = sa.text("""
    DELETE FROM ingestion.refused_zones
    WHERE name = :name AND location = :location OR seen_at < clock_timestamp() - make_interval(secs => :kept_s)
""")
_SEE = sa.text("UPDATE ingestion.zones SET seen_at = clock_timestamp(), refused = NULL WHERE name = :name")
_TELL = sa.text("SELECT pg_notify(:channel, '')")
_REMOVE = sa.text("DELETE FROM ingestion.zones WHERE name = :name RETURNING name")


@dataclass(frozen=True, slots=True)
class InForce:
    """A zone as the ledger knows it. `refused` says why a newer document is not in force."""

    document: ZoneDocument
    version: str
    refused: str | None
    published_at: datetime
    seen_at: datetime


def read(connection: sa.Connection) -> tuple[list[InForce], dict[str, str]]:
    """The zones, and a sentence for each that this release cannot read."""
    zones: list[InForce] = []
    unread: dict[str, str] = {}
    for row in connection.execute(_ALL):
        try:
            zones.append(
                InForce(decoded(row.document), row.version, row.refused, row.published_at, row.seen_at)
            )
        except msgspec.ValidationError as error:
            unread[row.name] = (
                f"The zone {row.name} was published by another release, which this one cannot read: {error}"
            )
    return zones, unread


def key_of(connection: sa.Connection, name: str) -> Sequence[str]:
    """The key of a zone as it is in force; empty where it has none, is not in force, or this release cannot read it."""
    document = connection.scalar(_DOCUMENT, {"name": name})
    try:
        return () if document is None else decoded(document).key
    except msgspec.ValidationError:
        return ()


def never_in_force(connection: sa.Connection) -> dict[str, str]:
    """By name why zones that code locations have are refused that never were in force."""
    return {row.name: row.refused for row in connection.execute(_NEVER, {"kept_s": REFUSED_S})}


def flows(connection: sa.Connection) -> dict[str, Flow]:
    """A flow for each zone in force. Of one that cannot be read here nothing but the name is known: its files are left where they are."""
    zones, unread = read(connection)
    return {
        **{name: Flow(name=name, read_inbox=_left) for name in unread},
        **{zone.document.name: flow_of(zone.document) for zone in zones},
    }


def _left(name: str, _content: bytes) -> Any:
    raise ZoneError(f"{name} is left: its zone was published by another release")


def check_not_installed(name: str) -> None:
    """Raises `ZoneError` for a name that a zone cannot have here."""
    if name in all_flows():
        raise ZoneError(f"{name} is the name of a flow that is installed here; give the zone another")


def publish(
    connection: sa.Connection,
    document: ZoneDocument,
    *,
    secrets: Sequence[str],
    settings: Settings,
    prepare: Callable[[], None],
) -> str:
    """Put a zone in force unless it is already, within the connection's transaction; says what was done.

    `prepare` makes or follows the zone's table first. What it raises is raised here; `refuse` then notes it. Raises `ZoneError`
    where the name belongs to another code location.
    """
    check_not_installed(document.name)
    connection.execute(_LOCK, {"name": document.name})
    version = _version(document, secrets, settings)
    known = connection.execute(_ONE, {"name": document.name, "every_s": SEEN_EVERY_S}).one_or_none()
    if known is not None and known.location != document.location:
        raise ZoneError(
            f"the zone {document.name} belongs to the code location {known.location}; give this one another name, or "
            f"have the other one go: `ingestion zones remove {document.name}`"
        )
    if known is not None and known.version == version:
        if known.unseen or known.refused:
            connection.execute(_SEE, {"name": document.name})
        return "is in force"
    prepare()
    seal = sealer(settings)
    sealed = [seal.seal(secret, of=_of(document.name)) for secret in secrets]
    whole = msgspec.structs.replace(document, secrets=sealed).encoded().decode()
    values = {"name": document.name, "location": document.location, "version": version, "document": whole}
    connection.execute(_PUT, values)
    connection.execute(_FORGET, {"name": document.name, "location": document.location, "kept_s": REFUSED_S})
    connection.execute(_TELL, {"channel": CHANNEL})
    return "is in force now" if known is None else "is in force as it is now"


def refuse(connection: sa.Connection, name: str, why: str, *, location: str) -> None:
    """Note why the newest document of a location's zone is not in force, or the zone not at all."""
    values = {"name": name, "refused": why[:2000], "location": location}
    connection.execute(_REFUSE, values)
    connection.execute(_REFUSE_NEW, values)
    connection.execute(_TELL, {"channel": CHANNEL})


def remove(connection: sa.Connection, name: str) -> bool:
    """Take a zone out of force; its payloads, receipts and tables stay. False where there is none."""
    gone = connection.execute(_REMOVE, {"name": name}).one_or_none() is not None
    connection.execute(_TELL, {"channel": CHANNEL})
    return gone


def opened_secrets(document: ZoneDocument, settings: Settings) -> list[bytes]:
    """The secrets that the zone's sender signs with. Raises `SealError`."""
    seal = sealer(settings)
    return [seal.open(secret, of=_of(document.name)).encode() for secret in document.secrets]


def _version(document: ZoneDocument, secrets: Sequence[str], settings: Settings) -> str:
    """Changes with the document and its secrets, of which it tells nothing to who does not have the server's keys."""
    told = msgspec.json.encode(
        [msgspec.structs.replace(document, secrets=()).encoded().decode(), list(secrets)]
    )
    return hmac.new(secret_keys(settings)[0].encode(), told, sha256).hexdigest()[:32]


def _of(zone: str) -> str:
    return f"zone {zone}"
