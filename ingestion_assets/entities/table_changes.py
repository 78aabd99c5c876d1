"""Making the tables agree with the definitions, in one transaction: what PostgreSQL refuses is told of the entity it befell."""

from collections.abc import Collection
from hashlib import sha256
from typing import Any, LiteralString

import psycopg

from ingestion_assets.entities.column_types import column_type
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import LOCK
from ingestion_assets.entities.evolution import IncompatibleTableError, Refusal, changes, told

LOCK_TIMEOUT = "5s"
"""How long a table is waited for that somebody else works with; meanwhile nobody else gets at it."""

_BOOKKEEPING: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS entities;
    CREATE TABLE IF NOT EXISTS entities._applied (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        fingerprint text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS entities._loads (
        drop_id uuid PRIMARY KEY,
        outcome bytea NOT NULL
    );
    CREATE TABLE IF NOT EXISTS entities._waiting (
        stream text NOT NULL,
        drop_id uuid NOT NULL,
        record integer NOT NULL,
        line bigint NOT NULL,
        "offset" bigint NOT NULL,
        raw bytea NOT NULL,
        PRIMARY KEY (stream, drop_id, record)
    );
    CREATE TABLE IF NOT EXISTS entities._tally (
        entity text PRIMARY KEY,
        processed bigint NOT NULL,
        failed bigint NOT NULL,
        superseded bigint NOT NULL DEFAULT 0
    );
"""
_COUNTS_SUPERSEDED: LiteralString = (
    "SELECT FROM pg_attribute WHERE attrelid = 'entities._tally'::regclass AND attname = 'superseded'"
)


def ensure_tables(
    connection: "psycopg.Connection[Any]", entities: EntitySet, *, leave: Collection[str] = ()
) -> None:
    """Make the tables agree with the definitions, within the connection's transaction; quick when they do already.

    The tables of the entities in `leave` stay as they are. Raises `IncompatibleTableError` with all that is in the way, and
    then the transaction must be rolled back.
    """
    fingerprint = _fingerprint(entities)
    if _applied(connection) == fingerprint:
        return
    connection.execute(LOCK)
    refusals: list[Refusal] = []
    with told(refusals, "", connection), connection.transaction():
        connection.execute(_BOOKKEEPING)
        if connection.execute(_COUNTS_SUPERSEDED).fetchone() is None:  # made by an earlier release
            connection.execute("ALTER TABLE entities._tally ADD COLUMN superseded bigint NOT NULL DEFAULT 0")
    if refusals:
        raise IncompatibleTableError(refusals)
    if _applied(connection) == fingerprint:
        return
    _change(connection, entities, leave)
    connection.execute(
        "INSERT INTO entities._applied (fingerprint) VALUES (%s) "
        "ON CONFLICT (singleton) DO UPDATE SET fingerprint = excluded.fingerprint",
        (fingerprint,),
    )


def _change(connection: "psycopg.Connection[Any]", entities: EntitySet, leave: Collection[str]) -> None:
    before = connection.execute("SELECT current_setting('lock_timeout')").fetchall()[0][0]
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    made, refusals = changes(connection, entities, leave=leave)
    refused = {one.entity for one in refusals}
    for part in ("table", "references"):
        for one in made:
            needed = (
                {reference.entity for reference in one.entity.references} if part == "references" else set()
            )
            if refused & {one.entity.entity, *needed}:
                continue
            with told(refusals, one.entity, connection), connection.transaction():
                for statement in getattr(one, part):
                    connection.execute(statement)
            refused |= {refusal.entity for refusal in refusals}
    if refusals:
        raise IncompatibleTableError(refusals)
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (before,))


def _applied(connection: "psycopg.Connection[Any]") -> str | None:
    if connection.execute("SELECT to_regclass('entities._applied')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT fingerprint FROM entities._applied").fetchone()
    return row[0] if row else None


def _fingerprint(entities: EntitySet) -> str:
    shape = [
        (
            one.table,
            one.primary_key,
            [(reference.fields, reference.entity) for reference in one.references],
            [(field.name, column_type(field), field.nullable) for field in one.fields],
        )
        for one in entities.entities
    ]
    return sha256(repr((_BOOKKEEPING, shape)).encode()).hexdigest()
