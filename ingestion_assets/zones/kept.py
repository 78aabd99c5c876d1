"""What zones keep for themselves in PostgreSQL: keys that were handed over, and outcomes until receipts have them.

Keys stand as digests, under the zone's name. A run that repeats one which was killed says what that would have said.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

import msgspec
import sqlalchemy as sa
import zstandard

from ingestion_assets.landing import drop_queries
from ingestion_assets.landing.drop_outcomes import DropOutcome

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
    CREATE TABLE IF NOT EXISTS zones.key_names (zone text PRIMARY KEY, names text[] NOT NULL);
""")
_THERE = sa.text("""
    SELECT to_regclass('zones.told') IS NOT NULL AND to_regclass('zones.keys') IS NOT NULL
        AND to_regclass('zones.key_names') IS NOT NULL
""")
_KNOWN = sa.text("SELECT key, receipt, position FROM zones.keys WHERE zone = :zone AND key = ANY(:keys)")
_KEEP = sa.text("""
    INSERT INTO zones.keys AS known (zone, key, receipt, position)
    SELECT :zone, * FROM unnest(CAST(:keys AS bytea[]), CAST(:receipts AS uuid[]), CAST(:positions AS integer[]))
    ON CONFLICT (zone, key) DO UPDATE SET receipt = excluded.receipt, position = excluded.position
    WHERE (known.receipt, known.position) <> (excluded.receipt, excluded.position)
""")
_NAME = sa.text("""
    INSERT INTO zones.key_names AS known (zone, names) VALUES (:zone, :names)
    ON CONFLICT (zone) DO UPDATE SET names = excluded.names WHERE known.names <> excluded.names
""")
_NAMES = sa.text("SELECT names FROM zones.key_names WHERE zone = :zone")
_ANY = sa.text("SELECT EXISTS (SELECT FROM zones.keys WHERE zone = :zone)")
_DROP = sa.text("DELETE FROM zones.keys WHERE zone = :zone AND key = ANY(:keys)")
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


def key_names(connection: sa.Connection, zone: str) -> Sequence[str] | None:
    """The fields that the zone's keys are made of which were handed over; None where there are no such keys, or nobody noted it."""
    return connection.scalar(_NAMES, {"zone": zone})


def name_keys(connection: sa.Connection, zone: str, names: Sequence[str]) -> None:
    """Note the fields that the zone's keys are made of."""
    connection.execute(_NAME, {"zone": zone, "names": list(names)})


def has_keys(connection: sa.Connection, zone: str) -> bool:
    """Whether keys of the zone were handed over."""
    return bool(connection.scalar(_ANY, {"zone": zone}))


def keep_keys(
    connection: sa.Connection,
    zone: str,
    keys: Mapping[bytes, Place],
    *,
    names: Sequence[str],
    gone: Sequence[bytes] = (),
) -> None:
    """Note keys that were handed over, of fields of these names, and forget those whose records are not taken any more."""
    if gone:
        connection.execute(_DROP, {"zone": zone, "keys": list(gone)})
    if keys:
        name_keys(connection, zone, names)
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
