"""The SQL of `ingestion.conversation_facts`: look up what is known, add what is new and mark its sessions stale."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import tenacity
from sqlalchemy.exc import OperationalError

from ingestion_assets.conversations.facts import Facts
from ingestion_assets.conversations.timestamps import plausible


def _is_deadlock(error: BaseException) -> bool:
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) == "40P01"


# A batch locks its sessions in the order of their ids; a refresh that finds the owner of a summary locks one more.
retry_on_deadlock = tenacity.retry(
    retry=tenacity.retry_if_exception(_is_deadlock), stop=tenacity.stop_after_attempt(8), reraise=True
)

Key = tuple[str, str]  # session id ('' where there is none) and uuid


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a stored message came from, what it said, and which session a summary was given to."""

    drop_id: UUID
    position: int
    content_hash: bytes
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A row to be."""

    key: Key
    origin: Origin
    received_at: datetime
    type: str
    timestamp: datetime | None
    facts: Facts


KNOWN = sa.text("""
    SELECT f.session_id, f.uuid, f.drop_id, f.position, f.content_hash, f.owner
    FROM unnest(CAST(:sessions AS text[]), CAST(:uuids AS text[])) AS k (session_id, uuid)
    CROSS JOIN LATERAL (
        SELECT * FROM ingestion.conversation_facts f
        WHERE f.session_id = k.session_id AND f.uuid = k.uuid
        LIMIT 1
    ) f
""")

_COLUMNS = """session_id text, uuid text, drop_id uuid, position int, content_hash bytea, type text, ts timestamptz,
    cwd text, version text, title text, usage_key text, request_id text, model text, input_tokens bigint,
    output_tokens bigint, cache_creation_tokens bigint, cache_read_tokens bigint, cache_creation_5m_tokens bigint,
    cache_creation_1h_tokens bigint, other_usage jsonb, server_tools jsonb, cost numeric, cumulative_cost numeric,
    counting_since timestamptz, leaf_uuid text"""
_NAMES = ", ".join(column.split()[0] for column in _COLUMNS.split(","))
_INSERT = f"""
    INSERT INTO ingestion.conversation_facts ({_NAMES}, unsettled)
    SELECT {_NAMES}, leaf_uuid IS NOT NULL
    FROM json_to_recordset(CAST(:rows AS json)) AS t ({_COLUMNS})
    ORDER BY session_id, uuid
    ON CONFLICT (session_id, uuid)
"""
_ADD = sa.text(f"{_INSERT} DO NOTHING")
_REPLACE = sa.text(
    f"{_INSERT} DO UPDATE SET unsettled = excluded.unsettled AND conversation_facts.owner IS NULL, "
    + ", ".join(f"{name} = excluded.{name}" for name in _NAMES.split(", ")[2:])
)
_TOUCH = sa.text("""
    INSERT INTO ingestion.conversation_sessions AS s (session_id, created_by, created_at, touched_by)
    SELECT session_id, drop_id, received_at, drop_id
    FROM json_to_recordset(CAST(:rows AS json)) AS t (session_id text, drop_id uuid, received_at timestamptz)
    ORDER BY session_id
    ON CONFLICT (session_id) DO UPDATE SET stale = true, touched_by = excluded.touched_by
""")


def known(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, Origin]:
    """Those of `keys` that are stored, with their origin: one index probe a key, however much is stored."""
    rows = connection.execute(
        KNOWN, {"sessions": [key[0] for key in keys], "uuids": [key[1] for key in keys]}
    )
    return {(row[0], row[1]): Origin(row[2], row[3], bytes(row[4]), row[5]) for row in rows}


def add(connection: sa.Connection, rows: Sequence[Fact], *, replace: bool = False) -> None:
    """Write the facts of stored messages and mark their sessions for new statistics, in the caller's transaction.

    Rows that exist stay as they are, or are written anew with `replace`.
    """
    if not rows:
        return
    connection.execute(_REPLACE if replace else _ADD, {"rows": _json(_row(fact) for fact in rows)})
    touched: dict[str, dict[str, Any]] = {}
    for fact in rows:
        session_id = fact.key[0]
        if session_id and session_id not in touched:
            touched[session_id] = {
                "session_id": session_id, "drop_id": fact.origin.drop_id, "received_at": fact.received_at,
            }  # fmt: skip
    if touched:
        connection.execute(_TOUCH, {"rows": _json(touched.values())})


def _row(fact: Fact) -> dict[str, Any]:
    facts = fact.facts
    return {
        "session_id": fact.key[0],
        "uuid": fact.key[1],
        "drop_id": fact.origin.drop_id,
        "position": fact.origin.position,
        "content_hash": "\\x" + fact.origin.content_hash.hex(),
        "type": fact.type,
        "ts": plausible(fact.timestamp),
        "cwd": facts.cwd,
        "version": facts.version,
        "title": facts.title,
        "usage_key": facts.usage_key,
        "request_id": facts.request_id,
        "model": facts.model,
        "input_tokens": facts.input_tokens,
        "output_tokens": facts.output_tokens,
        "cache_creation_tokens": facts.cache_creation_tokens,
        "cache_read_tokens": facts.cache_read_tokens,
        "cache_creation_5m_tokens": facts.cache_creation_5m_tokens,
        "cache_creation_1h_tokens": facts.cache_creation_1h_tokens,
        "other_usage": facts.other_usage,
        "server_tools": facts.server_tools,
        "cost": facts.cost,
        "cumulative_cost": facts.cumulative_cost,
        "counting_since": facts.counting_since,
        "leaf_uuid": facts.waits_for,
    }


def _json(rows: Iterable[dict[str, Any]]) -> str:
    return msgspec.json.encode(list(rows)).decode()
