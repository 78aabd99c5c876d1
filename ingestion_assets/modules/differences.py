"""What differs between a sync and a site's inventory: found, closed and opened by set-based SQL.

What a site reports is copied into a temporary table beside the inventory, and one pass over both notes the differences in another.
Both tables live as long as the connection and are emptied at the end of each transaction, which costs little for the second one:
its columns are so short that it has no TOAST table. Whoever calls holds the site's row.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ingestion_assets.modules.module_tables import REPORTED
from ingestion_assets.modules.schema import ModuleInfo, ModuleSyncRequest
from ingestion_assets.stores.postgres import copy_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a sync changed. Reported = new + returned + modified + unchanged + superseded, which is all or none; `present` is the
    inventory after it.
    """

    new: int = 0
    returned: int = 0
    modified: int = 0
    unchanged: int = 0
    superseded: int = 0
    removed: int = 0
    updated: int = 0
    enabled: int = 0
    disabled: int = 0
    present_before: int = 0

    @property
    def reported(self) -> int:
        return self.new + self.returned + self.modified + self.unchanged + self.superseded

    @property
    def present(self) -> int:
        return self.present_before + self.new + self.returned - self.removed


COPIED = ("machine_name", *REPORTED)


def _of(alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in REPORTED)


_STAGE = sa.text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming_modules (
        machine_name text COLLATE "C" NOT NULL, name text, type text, version text, status boolean, schema_version bigint,
        package text, core_compatibility text[], dependencies text[], description text, project_link text,
        security_coverage boolean, project text COLLATE "C", datestamp bigint
    ) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE IF NOT EXISTS module_changes (
        machine_name varchar(255) COLLATE "C" NOT NULL, kind varchar(8) NOT NULL, updated boolean, enabled boolean,
        disabled boolean, old_sequence bigint, first_seen timestamptz
    ) ON COMMIT DELETE ROWS
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
        (site_id, machine_name, sequence, valid_from, present, first_seen, seen_at, {", ".join(REPORTED)})
    SELECT :site_id, i.machine_name, :sequence, :at, true, coalesce(c.first_seen, :at), :at, {_of("i")}
    FROM incoming_modules i JOIN module_changes c USING (machine_name)
    UNION ALL
    SELECT :site_id, s.machine_name, :sequence, :at, false, s.first_seen, greatest(s.seen_at, :full_snapshot_at), {_of("s")}
    FROM module_changes c
    JOIN ingestion.module_states s
        ON s.site_id = :site_id AND s.machine_name = c.machine_name AND s.sequence = c.old_sequence
    WHERE c.kind = 'removed'
""")


def compare(
    connection: sa.Connection, site_id: int, request: ModuleSyncRequest
) -> tuple[Counts, frozenset[str]]:
    """Copy what is reported beside the inventory and note the differences in `module_changes`; which reported names differ.

    Once in a transaction, or after `forget_comparison`.
    """
    connection.execute(_STAGE)
    copy_rows(connection, "incoming_modules", COPIED, map(reported, request.modules))
    full = request.sync_type == "full"
    found = connection.execute(_COMPARE, {"site_id": site_id, "full": full}).one()._asdict()
    changed = frozenset(found.pop("changed"))
    counts = Counts(**found, unchanged=len(request.modules) - len(changed))
    if full:  # then the inventory is what is still reported and what is not any more
        present = counts.unchanged + counts.modified + counts.removed
    else:
        present = connection.scalar(_PRESENT, {"site_id": site_id}) or 0
    return replace(counts, present_before=present), changed


def write_changes(
    connection: sa.Connection,
    site_id: int,
    *,
    sequence: int,
    at: datetime,
    full_snapshot_at: datetime | None,
) -> None:
    """Close the states that `compare` found changed and open the new ones, true from `at`, as the sync `sequence` tells.

    `full_snapshot_at`: when the newest full snapshot before was taken, in which removed modules were seen last.
    """
    values = {"site_id": site_id, "sequence": sequence, "at": at, "full_snapshot_at": full_snapshot_at}
    connection.execute(_CLOSE, values)
    connection.execute(_OPEN, values)


def forget_comparison(connection: sa.Connection) -> None:
    """Empty the temporary tables within a transaction that compares many syncs: rows only deleted would slow down each next one."""
    connection.execute(_STAGE)
    connection.execute(_CLEAR)


def reported(module: ModuleInfo) -> tuple[Any, ...]:
    """A module in the order of `COPIED`."""
    return (
        module.machine_name, module.name, module.type, module.version, module.status, module.schema_version, module.package,
        module.core_compatibility, module.dependencies, module.description, module.project_link, module.security_coverage,
        module.drupal_project(), module.datestamp or 0,
    )  # fmt: skip
