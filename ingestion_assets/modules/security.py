"""What the known releases say of what is installed: kept per project, version and date, so that one word serves all sites.

Whoever judges takes the project's row first: a sync shares it, a new answer of the feed has it alone. So a sync that comes while an
answer is being stored is judged by that answer, never by the one before.

Core is judged in the version that the site says it runs, like a module of the project `drupal`, whether or not modules of core are
reported. It counts and is listed as one of its own where no reported module of core says the same: so it is never missed and never
counted twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ingestion_assets.modules.advice import advise
from ingestion_assets.modules.releases import Release, ReleaseHistory
from ingestion_assets.modules.schema import CORE
from ingestion_assets.stores.postgres import copy_rows

# Whether a word is old: the feed's last answer was no good one, so that what it said before stands, or there has been none for a day.
STALE = "(p.known AND (p.error IS NOT NULL OR p.answered_at < clock_timestamp() - interval '24 hours'))"

_OPEN_QUESTIONS = sa.text("""
    SELECT i.project, i.version, i.datestamp, p.project IS NOT NULL AS noted
    FROM (
        SELECT project, version, datestamp FROM ingestion.module_states
        WHERE site_id = :site_id AND until_sequence IS NULL AND sequence >= :since AND present AND project <> ''
        UNION
        SELECT :core, drupal_version, 0 FROM ingestion.sites WHERE id = :site_id AND drupal_version IS NOT NULL
    ) i
    LEFT JOIN ingestion.module_projects p ON p.project = i.project
    WHERE p.project IS NULL OR p.known AND NOT EXISTS (
        SELECT FROM ingestion.module_advice a
        WHERE a.project = i.project AND a.version = i.version AND a.datestamp = i.datestamp
    )
""").bindparams(core=CORE)
_NOTE_PROJECTS = sa.text("""
    INSERT INTO ingestion.module_projects (project) SELECT unnest(CAST(:projects AS text[])) ON CONFLICT DO NOTHING
""")
_INSTALLED = sa.text("""
    SELECT project, version, datestamp FROM ingestion.module_states
    WHERE until_sequence IS NULL AND present AND project = :project
    UNION
    SELECT :core, drupal_version, 0 FROM ingestion.sites WHERE :project = :core AND drupal_version IS NOT NULL
""").bindparams(core=CORE)
_SHARE = sa.text("""
    SELECT project, title, status, link, supported_branches FROM ingestion.module_projects
    WHERE project = ANY(:projects) AND known ORDER BY project FOR SHARE
""")
_RELEASES = sa.text("""
    SELECT project, version, published, date, types, link, core_compatibility FROM ingestion.module_releases
    WHERE project = ANY(:projects) ORDER BY project, position
""")
_KEEP = sa.text("""
    INSERT INTO ingestion.module_advice
        (project, version, datestamp, status, needs_security_update, recommended, latest, security_updates, also, reason)
    VALUES (:project, :version, :datestamp, :status, :needs, :recommended, :latest, :security_updates, :also, :reason)
    ON CONFLICT (project, version, datestamp) DO UPDATE SET
        status = excluded.status, needs_security_update = excluded.needs_security_update, recommended = excluded.recommended,
        latest = excluded.latest, security_updates = excluded.security_updates, also = excluded.also,
        reason = excluded.reason, advised_at = clock_timestamp()
""")
# What is known of a project is judged for every version that is installed, so a module is judged if its project is known. The names
# come as texts (none holds a space): a row or an array of a thousand costs more to read than to find.
_STANDING = sa.text("""
    SELECT false AS judged, project = :core AS of_core, string_agg(machine_name, ' ') AS names FROM ingestion.module_states
    WHERE site_id = :site_id AND until_sequence IS NULL AND present AND (project <> '' OR type <> 'custom')
      AND project NOT IN (SELECT project FROM ingestion.module_projects WHERE known)
    GROUP BY of_core
    UNION ALL
    SELECT true, s.project = :core AS of_core, string_agg(s.machine_name, ' ') FROM ingestion.module_states s
    JOIN ingestion.module_advice a
        ON a.project = s.project AND a.version = s.version AND a.datestamp = s.datestamp AND a.needs_security_update
    WHERE s.site_id = :site_id AND s.until_sequence IS NULL AND s.present
      AND EXISTS (SELECT FROM ingestion.module_advice WHERE needs_security_update)
    GROUP BY of_core
    UNION ALL
    SELECT a.project IS NOT NULL, NULL, NULL FROM ingestion.sites t
    LEFT JOIN ingestion.module_advice a ON a.project = :core AND a.version = t.drupal_version AND a.datestamp = 0
    WHERE t.id = :site_id AND t.drupal_version IS NOT NULL AND (a.needs_security_update OR a.project IS NULL)
""").bindparams(core=CORE)
_CONCERNS = (
    "(CAST(:version AS text) = ANY(a.security_updates) OR ({}.{} = :version AND a.status = 'not_secure'))"
)
_SITES_OF_RELEASE = sa.text(f"""
    SELECT t.id AS site_id, t.name AS site_name, s.machine_name, s.version AS installed_version, s.status AS enabled,
           a.status, a.security_updates
    FROM ingestion.module_states s
    JOIN ingestion.sites t ON t.id = s.site_id AND t.active
    JOIN ingestion.module_advice a
        ON a.project = s.project AND a.version = s.version AND a.datestamp = s.datestamp
    WHERE s.until_sequence IS NULL AND s.present AND s.project = :project
      AND {_CONCERNS.format("s", "version")} AND (t.id, s.machine_name) > (:after_site, :after_module)
    UNION ALL
    SELECT t.id, t.name, :core COLLATE "C", t.drupal_version, true, a.status, a.security_updates
    FROM ingestion.sites t
    JOIN ingestion.module_advice a ON a.project = :core AND a.version = t.drupal_version AND a.datestamp = 0
    WHERE :project = :core AND t.active
      AND {_CONCERNS.format("t", "drupal_version")} AND (t.id, :core COLLATE "C") > (:after_site, :after_module)
      AND NOT EXISTS (
          SELECT FROM ingestion.module_states s
          JOIN ingestion.module_advice a
              ON a.project = s.project AND a.version = s.version AND a.datestamp = s.datestamp
          WHERE s.site_id = t.id AND s.until_sequence IS NULL AND s.present AND s.project = :core
            AND {_CONCERNS.format("s", "version")}
      )
    ORDER BY site_id, machine_name LIMIT :limit
""").bindparams(core=CORE)


@dataclass(frozen=True, slots=True)
class Installed:
    """A version that some site has. `datestamp` is 0 where it is not known."""

    project: str
    version: str
    datestamp: int


def judge_site(connection: sa.Connection, site_id: int, *, since: int) -> int:
    """Judge what the site's syncs brought from the sequence `since` on, where nobody judged it yet; note projects to ask the feed for.

    Gives how many versions were judged.
    """
    values = {"site_id": site_id, "since": since}
    questions = connection.execute(_OPEN_QUESTIONS, values).all()
    if new := sorted({row.project for row in questions if not row.noted}):
        # This waits for whoever notes one of them at the same time; what the feed says of it is then seen below.
        connection.execute(_NOTE_PROJECTS, {"projects": new})
        questions = connection.execute(_OPEN_QUESTIONS, values).all()
    unjudged = [Installed(row.project, row.version, row.datestamp) for row in questions]
    histories = known_histories(connection, {one.project for one in unjudged})
    return judge(connection, unjudged, histories)


def judge_project(connection: sa.Connection, history: ReleaseHistory) -> int:
    """Judge all that is installed of a project anew. Gives how many versions were judged."""
    installed = [Installed(*row) for row in connection.execute(_INSTALLED, {"project": history.project})]
    return judge(connection, installed, {history.project: history})


def judge(
    connection: sa.Connection, installed: Sequence[Installed], histories: Mapping[str, ReleaseHistory]
) -> int:
    rows = []
    for one in sorted(installed, key=lambda one: (one.project, one.version, one.datestamp)):
        if one.project not in histories:
            continue
        advice = advise(one.version, histories[one.project], datestamp=one.datestamp or None)
        rows.append(
            {
                "project": one.project, "version": one.version, "datestamp": one.datestamp, "status": advice.status,
                "needs": advice.needs_security_update, "recommended": advice.recommended, "latest": advice.latest,
                "security_updates": list(advice.security_updates), "also": list(advice.also), "reason": advice.reason,
            }
        )  # fmt: skip
    if rows:
        connection.execute(_KEEP, rows)
    return len(rows)


def known_histories(connection: sa.Connection, projects: Iterable[str]) -> dict[str, ReleaseHistory]:
    """The stored release histories of those projects that the feed knows; they cannot change until the transaction ends."""
    wanted = sorted(projects)
    if not wanted:
        return {}
    known = connection.execute(_SHARE, {"projects": wanted}).all()
    releases: dict[str, list[Release]] = {row.project: [] for row in known}
    for row in connection.execute(_RELEASES, {"projects": list(releases)}):
        releases[row.project].append(
            Release(
                version=row.version, published=row.published, date=row.date, types=tuple(row.types), link=row.link,
                core_compatibility=row.core_compatibility,
            )
        )  # fmt: skip
    return {
        row.project: ReleaseHistory(
            project=row.project, title=row.title or row.project, status=row.status, link=row.link,
            supported_branches=tuple(row.supported_branches), releases=tuple(releases[row.project]),
        )
        for row in known
    }  # fmt: skip


_LOCK_PROJECT = sa.text("""
    INSERT INTO ingestion.module_projects (project) VALUES (:project)
    ON CONFLICT (project) DO UPDATE SET project = excluded.project
""")
_KEEP_PROJECT = sa.text("""
    UPDATE ingestion.module_projects SET
        known = true, title = :title, status = :status, link = :link, supported_branches = :supported_branches, changed_at = :at
    WHERE project = :project
""")
_FORGET_RELEASES = sa.text("DELETE FROM ingestion.module_releases WHERE project = :project")


def keep_history(connection: sa.Connection, history: ReleaseHistory, *, at: datetime) -> int:
    """Store what the feed says of a project and judge all that is installed of it. Gives how many versions were judged."""
    connection.execute(_LOCK_PROJECT, {"project": history.project})
    connection.execute(
        _KEEP_PROJECT,
        {
            "project": history.project, "title": history.title, "status": history.status, "link": history.link,
            "supported_branches": list(history.supported_branches), "at": at,
        },
    )  # fmt: skip
    connection.execute(_FORGET_RELEASES, {"project": history.project})
    columns = ("project", "version", "position", "published", "date", "types", "link", "core_compatibility")
    releases = (
        (history.project, one.version, position, one.published, one.date, list(one.types), one.link, one.core_compatibility)
        for position, one in enumerate(history.releases)
    )  # fmt: skip
    copy_rows(connection, "ingestion.module_releases", columns, releases)
    return judge_project(connection, history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What of a site needs a security update or is not judged yet: modules by name, whether each is one of core, and core itself."""

    needed: Mapping[str, bool]
    unjudged: Mapping[str, bool]
    core_needs: bool
    core_unjudged: bool

    def updates_found(self, names: Iterable[str]) -> int:
        """How many of the modules `names`, and core, need a security update."""
        found = [self.needed[name] for name in names if name in self.needed]
        return len(found) + (self.core_needs and not any(found))

    def unjudged_of(self, names: Iterable[str]) -> list[str]:
        """Those of the modules `names`, and core, that nobody judged yet. Modules that come from no project never are."""
        found = [name for name in names if name in self.unjudged]
        alone = self.core_unjudged and not any(self.unjudged[name] for name in found)
        return [*found, CORE] if alone else found


def standing(connection: sa.Connection, site_id: int) -> Standing:
    """How a site's newest inventory stands."""
    rows = connection.execute(_STANDING, {"site_id": site_id}).all()
    of_core = [row.judged for row in rows if row.names is None]
    modules = [row for row in rows if row.names is not None]
    return Standing(
        needed={name: row.of_core for row in modules if row.judged for name in row.names.split(" ")},
        unjudged={name: row.of_core for row in modules if not row.judged for name in row.names.split(" ")},
        core_needs=True in of_core,
        core_unjudged=False in of_core,
    )


def sites_of_release(
    connection: sa.Connection,
    project: str,
    version: str,
    *,
    after: tuple[int, str] = (0, ""),
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Sites that a security release concerns: they lack it, or run it and it has become insecure itself."""
    rows = connection.execute(
        _SITES_OF_RELEASE,
        {
            "project": project,
            "version": version,
            "after_site": after[0],
            "after_module": after[1],
            "limit": limit,
        },
    )
    return [dict(row._mapping) for row in rows]
