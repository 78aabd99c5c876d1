"""Format drift: which types and fields a flow has seen, by client version, and which receipt brought them first."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.stores.storable_text import storable

LONGEST_PATH = 200
MOST_NEW_PATHS = 500  # of one drop: keys made of data must not flood the table
_MOST_REMEMBERED = 50_000

Position = tuple[UUID, str, str, str]

_seen: set[tuple[str, str, str]] = set()

_ADD = sa.text("""
    INSERT INTO ingestion.format_drift AS d (flow, version, path, first_drop, first_seen)
    SELECT flow, version, path, drop_id, seen_at
    FROM json_to_recordset(CAST(:rows AS json)) AS t (
        flow text, version text, path text, drop_id uuid, seen_at timestamptz
    )
    ORDER BY flow, version, path
    ON CONFLICT (flow, version, path) DO UPDATE
    SET first_drop = excluded.first_drop, first_seen = excluded.first_seen
    WHERE excluded.first_drop < d.first_drop
""")
_LIST = sa.text("""
    SELECT flow, version, path, first_drop, first_seen FROM ingestion.format_drift
    WHERE (CAST(:flow AS text) IS NULL OR flow = :flow)
        AND (CAST(:after AS uuid) IS NULL OR (first_drop, flow, version, path) < (:after, :a_flow, :a_version, :a_path))
    ORDER BY first_drop DESC, flow DESC, version DESC, path DESC
    LIMIT :limit
""")


def observe(engine: sa.Engine, *, flow: str, drop_id: UUID, paths: Mapping[str, Iterable[str]]) -> int:
    """Record the types and field paths that a drop shows, by client version ('' where it names none).

    They were first seen when the drop was accepted, which its id (a UUIDv7) tells. Returns how many were new to this process; when none are, nothing is asked or written.
    """
    rows: list[dict[str, Any]] = []
    fresh: set[tuple[str, str, str]] = set()
    seen_at = datetime.fromtimestamp((drop_id.int >> 80) / 1000, UTC)
    for version, names in paths.items():
        for name in names:
            key = (flow, storable(version, longest=LONGEST_PATH), storable(name, longest=LONGEST_PATH))
            if key not in _seen and key not in fresh and len(rows) < MOST_NEW_PATHS:
                fresh.add(key)
                rows.append(
                    {
                        "flow": key[0],
                        "version": key[1],
                        "path": key[2],
                        "drop_id": drop_id,
                        "seen_at": seen_at,
                    }
                )
    if not rows:
        return 0
    with engine.begin() as connection:
        connection.execute(_ADD, {"rows": msgspec.json.encode(rows).decode()})
    if len(_seen) > _MOST_REMEMBERED:
        _seen.clear()
    _seen.update(fresh)
    return len(rows)


async def report(
    engine: AsyncEngine, *, flow: str | None = None, limit: int = 100, after: Position | None = None
) -> Sequence[sa.Row[Any]]:
    """The newest first, those after a position: flow, version ('' where the client names none), path, first_drop, first_seen."""
    drop, a_flow, a_version, a_path = after or (None, None, None, None)
    place = {"after": drop, "a_flow": a_flow, "a_version": a_version, "a_path": a_path}
    async with engine.connect() as connection:
        return (await connection.execute(_LIST, {"flow": flow, "limit": limit, **place})).all()


def position_of(row: sa.Row[Any]) -> Position:
    """Where a row of the report stands."""
    return row.first_drop, row.flow, row.version, row.path
