"""Format drift: which types and fields a flow has seen, by client version, and which receipt brought them first."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

LONGEST_PATH = 200
MOST_NEW_PATHS = 500  # of one drop: keys made of data must not flood the table
_MOST_REMEMBERED = 50_000

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
            key = (flow, version[:LONGEST_PATH], name[:LONGEST_PATH])
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
    engine: AsyncEngine, *, flow: str | None = None, limit: int = 100, cursor: str | None = None
) -> dict[str, Any]:
    """The newest first: `{"items": [{flow, version, path, first_receipt, first_seen}], "next": cursor or null}`.

    Raises `ValueError` for a cursor that is none of ours.
    """
    after: dict[str, Any] = {"after": None, "a_flow": None, "a_version": None, "a_path": None}
    if cursor is not None:
        after = _opened(cursor)
    async with engine.connect() as connection:
        rows = (await connection.execute(_LIST, {"flow": flow, "limit": limit + 1, **after})).all()
    items = [
        {
            "flow": row.flow,
            "version": row.version or None,
            "path": row.path,
            "first_receipt": str(row.first_drop),
            "first_seen": row.first_seen.isoformat(),
        }
        for row in rows[:limit]
    ]
    return {"items": items, "next": _closed(rows[limit - 1]) if len(rows) > limit else None}


CURSOR = "^([0-9a-f]{2}){16,}$"
"""What a cursor looks like; every text that looks so is one."""


def _closed(row: Any) -> str:
    return (row.first_drop.bytes + "\0".join((row.flow, row.version, row.path)).encode()).hex()


def _opened(cursor: str) -> dict[str, Any]:
    try:
        place = bytes.fromhex(cursor)
        drop = UUID(bytes=place[:16])
    except ValueError as error:
        raise ValueError("The cursor is not one of this listing.") from error
    flow, version, path = [*place[16:].decode(errors="replace").split("\0"), "", "", ""][:3]
    return {"after": drop, "a_flow": flow, "a_version": version, "a_path": path}
