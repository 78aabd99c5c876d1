"""Applying syncs to a site: what differs from the inventory is found and written by set-based SQL, in one transaction a sync.

The rules: a site's syncs are applied one after the other under its row's lock, in the order of their snapshots: one that is older
than the newest applied is recorded and changes nothing. What is already there is not written again. A full sync that would remove
too much is held until somebody confirms it. A sync that was applied before is not applied again, however often its payload comes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ingestion_assets.modules.schema import ModuleInfo, ModuleSyncRequest
from ingestion_assets.modules.tables import sites, states, syncs
from ingestion_assets.stores.postgres import copy_rows

SyncState = Literal["applied", "stale", "held"]


class NoSuchSiteError(LookupError):
    """The site is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A sync as it landed. `confirmed`: it may remove as much as it does."""

    id: UUID
    site_id: int
    request: ModuleSyncRequest
    received_at: datetime
    principal: str
    attributes: dict[str, str]
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalGuard:
    """A full sync that removes more than `share` of the modules, and at least `at_least`, is held."""

    share: float = 0.5
    at_least: int = 10

    def holds(self, *, removed: int, present: int) -> bool:
        return removed >= self.at_least and removed > self.share * present


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a sync changed. Reported = new + returned + modified + unchanged; `present` is the inventory after it."""

    new: int = 0
    returned: int = 0
    modified: int = 0
    unchanged: int = 0
    removed: int = 0
    updated: int = 0
    enabled: int = 0
    disabled: int = 0
    present_before: int = 0

    @property
    def reported(self) -> int:
        return self.new + self.returned + self.modified + self.unchanged

    @property
    def present(self) -> int:
        return self.present_before + self.new + self.returned - self.removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a sync. `changed` names the reported modules it wrote."""

    id: UUID
    state: SyncState
    sequence: int | None
    counts: Counts
    changed: frozenset[str] = frozenset()


# What a module reports, in the order in which it is copied and compared.
_REPORTED = (
    "name", "type", "version", "status", "schema_version", "package", "core_compatibility", "dependencies", "description",
    "project_link", "security_coverage", "project", "datestamp",
)  # fmt: skip
_COPIED = ("machine_name", *_REPORTED)


def _of(alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in _REPORTED)


_STAGE = sa.text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming_modules (
        machine_name text COLLATE "C" NOT NULL, name text, type text, version text, status boolean, schema_version bigint,
        package text, core_compatibility text[], dependencies text[], description text, project_link text,
        security_coverage boolean, project text COLLATE "C", datestamp bigint
    ) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE IF NOT EXISTS module_changes (
        machine_name text COLLATE "C" NOT NULL, kind text NOT NULL, updated boolean, enabled boolean, disabled boolean,
        old_sequence bigint, first_seen timestamptz
    ) ON COMMIT DELETE ROWS;
    DELETE FROM incoming_modules; DELETE FROM module_changes
""")
_CLEAR = sa.text("TRUNCATE incoming_modules, module_changes")
_COMPARE = sa.text(f"""
    WITH changes AS (
        INSERT INTO module_changes
        SELECT machine_name,
               CASE WHEN s.present IS NULL THEN 'new' WHEN i.name IS NULL THEN 'removed' WHEN s.present THEN 'modified'
                    ELSE 'returned' END,
               s.present AND s.version <> i.version, s.present AND i.status AND NOT s.status,
               s.present AND s.status AND NOT i.status, s.sequence, s.first_seen
        FROM incoming_modules i
        FULL JOIN (SELECT * FROM ingestion.module_states WHERE site_id = :site_id AND until_sequence IS NULL) s
            USING (machine_name)
        WHERE CASE WHEN i.name IS NULL THEN :full AND s.present
                   ELSE s.present IS NOT TRUE OR ({_of("s")}) IS DISTINCT FROM ({_of("i")}) END
        RETURNING *
    )
    SELECT count(*) FILTER (WHERE kind = 'new') AS new, count(*) FILTER (WHERE kind = 'returned') AS returned,
           count(*) FILTER (WHERE kind = 'modified') AS modified, count(*) FILTER (WHERE kind = 'removed') AS removed,
           count(*) FILTER (WHERE updated) AS updated, count(*) FILTER (WHERE enabled) AS enabled,
           count(*) FILTER (WHERE disabled) AS disabled,
           coalesce(array_agg(machine_name) FILTER (WHERE kind <> 'removed'), '{{}}') AS changed
    FROM changes
""")
_PRESENT = sa.text("""
    SELECT count(*) FROM ingestion.module_states WHERE site_id = :site_id AND until_sequence IS NULL AND present
""")
# The names are given as an array: so the states are found by the index of open ones, whatever the planner believes of the size of
# the temporary table, and however long the site's history is.
_CLOSE = sa.text("""
    UPDATE ingestion.module_states SET until_sequence = :sequence, valid_to = :at
    WHERE site_id = :site_id AND until_sequence IS NULL
      AND machine_name = ANY(ARRAY(SELECT machine_name FROM module_changes WHERE kind <> 'new'))
""")
_OPEN = sa.text(f"""
    INSERT INTO ingestion.module_states
        (site_id, machine_name, sequence, valid_from, present, first_seen, seen_at, {", ".join(_REPORTED)})
    SELECT :site_id, i.machine_name, :sequence, :at, true, coalesce(c.first_seen, :at), :at, {_of("i")}
    FROM incoming_modules i JOIN module_changes c USING (machine_name)
    UNION ALL
    SELECT :site_id, s.machine_name, :sequence, :at, false, s.first_seen, greatest(s.seen_at, :full_snapshot_at), {_of("s")}
    FROM module_changes c
    JOIN ingestion.module_states s
        ON s.site_id = :site_id AND s.machine_name = c.machine_name AND s.sequence = c.old_sequence
    WHERE c.kind = 'removed'
""")


def apply_sync(connection: sa.Connection, incoming: Incoming, *, guard: RemovalGuard) -> Applied:
    """Apply one sync within the connection's transaction. Raises `NoSuchSiteError`."""
    site = _lock_site(connection, incoming.site_id)
    known = connection.execute(sa.select(syncs).where(syncs.c.id == incoming.id)).one_or_none()
    if known is not None and (known.state != "held" or not incoming.confirmed):
        return _as_applied(connection, known)
    request = incoming.request
    if site.snapshot_at is not None and request.sync_timestamp < site.snapshot_at:
        counts = Counts(unchanged=len(request.modules))
        stale = Applied(id=incoming.id, state="stale", sequence=None, counts=counts)
        _record(connection, incoming, stale)
        return stale
    counts, changed = _compare(connection, incoming)
    if not incoming.confirmed and guard.holds(removed=counts.removed, present=counts.present_before):
        held = Applied(id=incoming.id, state="held", sequence=None, counts=counts)
        _record(connection, incoming, held)
        return held
    return _write(connection, incoming, site, counts, changed)


def rebuild_site(
    connection: sa.Connection,
    site_id: int,
    landed: Sequence[UUID],
    *,
    load: Callable[[UUID], Incoming],
    guard: RemovalGuard,
) -> list[Applied]:
    """Make a site's states anew from its payloads, in the order in which they were applied; new ones come last.

    `load` reads one payload; only one is held at a time.
    """
    _lock_site(connection, site_id)
    applied_as = {
        row.id: row.sequence
        for row in connection.execute(
            sa.select(syncs.c.id, syncs.c.sequence).where(
                syncs.c.site_id == site_id, syncs.c.state == "applied"
            )
        )
    }
    connection.execute(sa.delete(states).where(states.c.site_id == site_id))
    connection.execute(
        sa.update(syncs)
        .where(syncs.c.site_id == site_id, syncs.c.state == "applied")
        .values(state="stale", sequence=None)
    )
    nothing = dict.fromkeys(("snapshot_at", "full_snapshot_at", "drupal_version", "php_version", "site_info"))
    connection.execute(sa.update(sites).where(sites.c.id == site_id).values(sequence=0, **nothing))
    connection.execute(_STAGE)

    def anew(drop_id: UUID) -> Applied:
        connection.execute(
            _CLEAR
        )  # rows deleted within a transaction would slow down the comparisons to come
        incoming = load(drop_id)
        if drop_id not in applied_as:
            return apply_sync(connection, incoming, guard=guard)
        return _write(connection, incoming, _lock_site(connection, site_id), *_compare(connection, incoming))

    return [anew(one) for one in sorted(landed, key=lambda one: applied_as.get(one, math.inf))]


def _lock_site(connection: sa.Connection, site_id: int):
    site = connection.execute(
        sa.select(sites.c.sequence, sites.c.snapshot_at, sites.c.full_snapshot_at)
        .where(sites.c.id == site_id)
        .with_for_update()
    ).one_or_none()
    if site is None:
        raise NoSuchSiteError(f"there is no site {site_id}")
    return site


def _compare(connection: sa.Connection, incoming: Incoming) -> tuple[Counts, frozenset[str]]:
    """Copy what is reported beside the inventory and note the differences in `module_changes`; which reported names differ."""
    connection.execute(_STAGE)
    copy_rows(connection, "incoming_modules", _COPIED, map(_row, incoming.request.modules))
    full = incoming.request.sync_type == "full"
    found = connection.execute(_COMPARE, {"site_id": incoming.site_id, "full": full}).one()._asdict()
    changed = frozenset(found.pop("changed"))
    counts = Counts(**found, unchanged=len(incoming.request.modules) - len(changed))
    if full:  # then the inventory is what is still reported and what is not any more
        present = counts.unchanged + counts.modified + counts.removed
    else:
        present = connection.scalar(_PRESENT, {"site_id": incoming.site_id}) or 0
    return replace(counts, present_before=present), changed


def _row(module: ModuleInfo) -> tuple[Any, ...]:
    return (
        module.machine_name, module.name, module.type, module.version, module.status, module.schema_version, module.package,
        module.core_compatibility, module.dependencies, module.description, module.project_link, module.security_coverage,
        module.drupal_project(), module.datestamp or 0,
    )  # fmt: skip


def _write(
    connection: sa.Connection,
    incoming: Incoming,
    site: sa.Row[Any, Any, Any],
    counts: Counts,
    changed: frozenset[str],
) -> Applied:
    request, at = incoming.request, incoming.request.sync_timestamp
    sequence = site.sequence + 1
    if changed or counts.removed:
        values = {
            "site_id": incoming.site_id,
            "sequence": sequence,
            "at": at,
            "full_snapshot_at": site.full_snapshot_at,
        }
        connection.execute(_CLOSE, values)
        connection.execute(_OPEN, values)
    full = request.sync_type == "full"
    unchanged = None if full else sorted({one.machine_name for one in request.modules} - changed)
    connection.execute(
        sa.update(sites)
        .where(sites.c.id == incoming.site_id)
        .values(
            sequence=sequence,
            snapshot_at=at,
            full_snapshot_at=at if full else site.full_snapshot_at,
            drupal_version=request.drupal_version,
            php_version=request.php_version,
            site_info=request.site_info,
        )
    )
    applied = Applied(id=incoming.id, state="applied", sequence=sequence, counts=counts, changed=changed)
    _record(connection, incoming, applied, unchanged=unchanged)
    return applied


def _record(
    connection: sa.Connection, incoming: Incoming, applied: Applied, *, unchanged: Sequence[str] | None = None
) -> None:
    decided = {
        "state": applied.state,
        "sequence": applied.sequence,
        "counts": asdict(applied.counts),
        "unchanged_names": unchanged,
    }
    statement = insert(syncs).values(
        id=incoming.id,
        site_id=incoming.site_id,
        sync_type=incoming.request.sync_type,
        snapshot_at=incoming.request.sync_timestamp,
        received_at=incoming.received_at,
        principal=incoming.principal,
        attributes=incoming.attributes,
        modules=len(incoming.request.modules),
        **decided,
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=decided))


def _as_applied(connection: sa.Connection, row: sa.Row[Any]) -> Applied:
    """A sync that was decided on before."""
    changed = connection.scalars(
        sa.select(states.c.machine_name).where(
            states.c.site_id == row.site_id, states.c.sequence == row.sequence, states.c.present
        )
    )
    return Applied(
        id=row.id,
        state=row.state,
        sequence=row.sequence,
        counts=Counts(**row.counts),
        changed=frozenset(changed),
    )
