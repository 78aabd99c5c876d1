"""Reading what ran on a site: now, then (`as_of`), before a sync, and how each module came to be what it is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.modules.module_tables import REPORTED, states, syncs
from ingestion_assets.modules.schema import CORE
from ingestion_assets.modules.security import STALE

_WORD = f"""p.known, p.answered_at, p.error, {STALE} AS stale, a.status AS advice, a.needs_security_update, a.recommended,
           a.security_updates, a.reason"""
_MODULES = sa.text(f"""
    WITH instant AS (SELECT coalesce(CAST(:as_of AS timestamptz), 'infinity') AS at),
    applied AS (
        SELECT snapshot_at, sync_type, unchanged_names FROM ingestion.module_syncs, instant
        WHERE site_id = :site_id AND state = 'applied' AND snapshot_at <= instant.at
    ),
    whole AS (SELECT max(snapshot_at) AS at FROM applied WHERE sync_type = 'full'),
    named AS (
        SELECT name, max(snapshot_at) AS at FROM applied, whole, unnest(unchanged_names) AS name
        WHERE snapshot_at >= coalesce(whole.at, '-infinity') GROUP BY name
    )
    SELECT s.machine_name, {", ".join(f"s.{name}" for name in REPORTED[:-2])},
           nullif(s.project, '') AS project, nullif(s.datestamp, 0) AS datestamp, s.first_seen,
           CASE WHEN s.present THEN greatest(s.seen_at, whole.at, named.at) ELSE s.seen_at END AS last_seen,
           CASE WHEN NOT s.present THEN s.valid_from END AS removed_at,
           {_WORD}
    FROM ingestion.module_states s CROSS JOIN instant CROSS JOIN whole
    LEFT JOIN named ON named.name = s.machine_name
    LEFT JOIN ingestion.module_projects p ON p.project = s.project
    LEFT JOIN ingestion.module_advice a
        ON a.project = s.project AND a.version = s.version AND a.datestamp = s.datestamp AND s.present
    WHERE s.site_id = :site_id AND (s.present OR :removed) AND s.machine_name > :after
      AND CASE WHEN CAST(:as_of AS timestamptz) IS NULL THEN s.until_sequence IS NULL
               ELSE s.valid_from <= instant.at AND (s.valid_to IS NULL OR s.valid_to > instant.at) END
    ORDER BY s.machine_name LIMIT :limit
""")
_CORE = sa.text(f"""
    SELECT t.drupal_version AS version, {_WORD} FROM ingestion.sites t
    LEFT JOIN ingestion.module_projects p ON p.project = :core
    LEFT JOIN ingestion.module_advice a ON a.project = :core AND a.version = t.drupal_version AND a.datestamp = 0
    WHERE t.id = :site_id
""").bindparams(core=CORE)
_HISTORY = sa.text("""
    WITH steps AS (
        SELECT s.sequence, s.valid_from, CASE WHEN present THEN version END AS to_version,
               CASE WHEN present THEN status END AS to_status,
               lag(CASE WHEN present THEN version END) OVER by_time AS from_version,
               lag(CASE WHEN present THEN status END) OVER by_time AS from_status
        FROM ingestion.module_states s
        WHERE site_id = :site_id AND machine_name = :machine_name
        WINDOW by_time AS (ORDER BY s.sequence)
    )
    SELECT from_version, to_version, from_status, to_status, valid_from AS changed_at, y.id AS sync_id, steps.sequence
    FROM steps JOIN ingestion.module_syncs y ON y.site_id = :site_id AND y.sequence = steps.sequence
    WHERE (from_version, from_status) IS DISTINCT FROM (to_version, to_status) AND steps.sequence > :after
    ORDER BY steps.sequence LIMIT :limit
""")


def modules_of(
    connection: sa.Connection,
    site_id: int,
    *,
    as_of: datetime | None = None,
    removed: bool = True,
    after: str = "",
    limit: int = 10_000,
) -> list[dict[str, Any]]:
    """The modules of a site by name, with what is known of their security; `as_of`: those that ran on it then."""
    rows = connection.execute(
        _MODULES, {"site_id": site_id, "as_of": as_of, "removed": removed, "after": after, "limit": limit}
    )
    return [_module(row) for row in rows]


def core_of(connection: sa.Connection, site_id: int) -> dict[str, Any]:
    """What is known of the security of the Drupal that a site says it runs."""
    values = dict(connection.execute(_CORE, {"site_id": site_id}).one()._mapping)
    version = values.pop("version")
    word = _take_word(values, CORE)
    return word if version is not None else word | {"reason": "No sync has said yet which Drupal runs."}


def _module(row: sa.Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)
    word = _take_word(values, values["project"])
    return values | {"security": word if values["removed_at"] is None else None}


def _take_word(values: dict[str, Any], project: str | None) -> dict[str, Any]:
    """What is known of the security of a module, taken out of its row."""
    known, answered, advice = (values.pop(name) for name in ("known", "answered_at", "advice"))
    reason = values.pop("reason")
    return {
        "status": advice or "unknown",
        "needs_security_update": values.pop("needs_security_update"),
        "recommended": values.pop("recommended"),
        "security_updates": values.pop("security_updates") or [],
        "reason": reason if advice else _why_unknown(project, known=known, answered=answered),
        "feed_answered_at": answered,
        "stale": bool(values.pop("stale")),
        "feed_error": values.pop("error"),
    }


def _why_unknown(project: str | None, *, known: bool | None, answered: datetime | None) -> str:
    if project is None:
        return "The module comes from no project of drupal.org."
    if answered is None:
        return "The feed has not answered for the project yet."
    return "Not judged yet." if known else "The feed does not know the project."


def history_of(
    connection: sa.Connection, site_id: int, machine_name: str, *, after: int = 0, limit: int = 1000
) -> list[dict[str, Any]]:
    """Every change of version or enabled state of one module, oldest first; None stands for "not there"."""
    rows = connection.execute(
        _HISTORY, {"site_id": site_id, "machine_name": machine_name, "after": after, "limit": limit}
    )
    return [dict(row._mapping) for row in rows]


def inventory_before(connection: sa.Connection, site_id: int, sync_id: UUID) -> list[dict[str, Any]] | None:
    """What was installed right before a sync was applied, in the API's shape; None if it never was applied."""
    sequence = connection.scalar(
        sa.select(syncs.c.sequence).where(syncs.c.site_id == site_id, syncs.c.id == sync_id)
    )
    if sequence is None:
        return None
    rows = connection.execute(
        sa.select(*(states.c[name] for name in ("machine_name", *REPORTED)))
        .where(
            states.c.site_id == site_id,
            states.c.present,
            states.c.sequence < sequence,
            sa.or_(states.c.until_sequence.is_(None), states.c.until_sequence >= sequence),
        )
        .order_by(states.c.machine_name)
    )
    return [as_reported(dict(row._mapping)) for row in rows]


def as_reported(values: dict[str, Any]) -> dict[str, Any]:
    """A stored module as a site would report it."""
    return values | {"project": values["project"] or None, "datestamp": values["datestamp"] or None}


def syncs_of(
    connection: sa.Connection, site_id: int, *, before: str | None = None, limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """A site's syncs, newest first."""
    query = sa.select(syncs).where(syncs.c.site_id == site_id).order_by(syncs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(syncs.c.id < before)
    return connection.execute(query).all()
