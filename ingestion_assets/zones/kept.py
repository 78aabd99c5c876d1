"""What zones keep for themselves in PostgreSQL: keys that were handed over, and outcomes until receipts have them.

Keys stand as digests, under the zone's name. A run that repeats one which was killed says what that would have said.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import zstandard

from ingestion_assets.landing import drop_queries
from ingestion_assets.landing.drops import DropOutcome

Place = tuple[UUID, int]

_MAKE = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended('ingestion_assets.zones.kept', 0));
    CREATE SCHEMA IF NOT EXISTS zones;
    CREATE TABLE IF NOT EXISTS zones.told (drop_id uuid PRIMARY KEY, zone text NOT NULL, outcome bytea NOT NULL);
    CREATE TABLE IF NOT EXISTS zones.keys (
        zone text NOT NULL,
        key bytea NOT NULL,
        receipt uuid NOT NULL,
        position integer NOT NULL,
        PRIMARY KEY (zone, key)
    );
""")
_THERE = sa.text("SELECT to_regclass('zones.told') IS NOT NULL AND to_regclass('zones.keys') IS NOT NULL")
_KNOWN = sa.text("SELECT key, receipt, position FROM zones.keys WHERE zone = :zone AND key = ANY(:keys)")
_KEEP = sa.text("""
    INSERT INTO zones.keys (zone, key, receipt, position)
    SELECT :zone, * FROM unnest(CAST(:keys AS bytea[]), CAST(:receipts AS uuid[]), CAST(:positions AS integer[]))
    ON CONFLICT (zone, key) DO NOTHING
""")
_TOLD = sa.text("SELECT drop_id, outcome FROM zones.told WHERE drop_id = ANY(:ids)")
_TELL = sa.text("""
    INSERT INTO zones.told (drop_id, zone, outcome)
    SELECT drop_id, :zone, outcome FROM unnest(CAST(:ids AS uuid[]), CAST(:outcomes AS bytea[])) AS new (drop_id, outcome)
    ON CONFLICT (drop_id) DO NOTHING
""")
_REMEMBERED = sa.text("SELECT drop_id FROM zones.told WHERE zone = :zone")
_FORGET = sa.text("DELETE FROM zones.told WHERE drop_id = ANY(:ids)")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DropOutcome).decode


def prepare(engine: sa.Engine) -> None:
    """Make the tables, where they are not there."""
    with engine.begin() as connection:
        if not connection.scalar(_THERE):
            connection.execute(_MAKE)


def digest(zone_key: Iterable[Any]) -> bytes:
    """What stands for a key: equal for equal values alone."""
    return blake2b(_encode([*zone_key]), digest_size=20).digest()


@contextmanager
def one_at_a_time(engine: sa.Engine, zone: str, *, when: bool) -> Iterator[None]:
    """While nobody else hands over records of the zone. Ends with the process, should that be killed."""
    if not when:
        yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = {"name": f"ingestion_assets.zones.{zone}"}
        connection.execute(sa.text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), name)
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), name)


def known_keys(connection: sa.Connection, zone: str, keys: Sequence[bytes]) -> dict[bytes, Place]:
    """Those of the keys that were handed over, and of which record."""
    rows = connection.execute(_KNOWN, {"zone": zone, "keys": list(keys)})
    return {bytes(key): (receipt, position) for key, receipt, position in rows}


def keep_keys(connection: sa.Connection, zone: str, keys: Mapping[bytes, Place]) -> None:
    """Note keys that were handed over."""
    if keys:
        receipts, positions = zip(*keys.values(), strict=True)
        given = {"keys": list(keys), "receipts": list(receipts), "positions": list(positions)}
        connection.execute(_KEEP, {"zone": zone, **given})


def told(connection: sa.Connection, ids: Sequence[UUID]) -> dict[UUID, DropOutcome]:
    """What was said of payloads by a run that did not come to tell it."""
    rows = connection.execute(_TOLD, {"ids": list(ids)})
    return {drop_id: _decode(zstandard.decompress(outcome)) for drop_id, outcome in rows}


def tell(connection: sa.Connection, zone: str, outcomes: Sequence[DropOutcome]) -> None:
    """Remember what is said of payloads, and forget what receipts have by now."""
    remembered = connection.scalars(_REMEMBERED, {"zone": zone}).all()
    if done := drop_queries.done_among(connection, remembered):
        connection.execute(_FORGET, {"ids": list(done)})
    packed = [zstandard.compress(_encode(one), 1) for one in outcomes]
    if packed:
        ids = [one.drop_id for one in outcomes]
        connection.execute(_TELL, {"zone": zone, "ids": ids, "outcomes": packed})
