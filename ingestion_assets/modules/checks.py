"""Asset checks of the modules flow: those that the step makes which writes the asset, and an audit of all sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.modules.flow import NAME
from ingestion_assets.orchestration.partition_checks import by_payloads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import sqlalchemy as sa

    from ingestion_assets.modules.work import Done

STANDSTILL_H = 24.0
_INVENTORY, _HISTORY, _RELEASES = (
    dg.AssetKey([NAME, name]) for name in ("module_inventory", "version_history", "drupal_releases")
)
INVENTORY = [
    dg.AssetCheckSpec(
        "no_duplicates", asset=_INVENTORY, blocking=True, description="Each module of the site is there once."
    ),
    by_payloads(
        "accounting",
        asset=_INVENTORY,
        blocking=True,
        description="Reported = new + returned + modified + unchanged, and the inventory grew by just that much.",
    ),
]
HISTORY = [
    dg.AssetCheckSpec(
        "agrees_with_inventory",
        asset=_HISTORY,
        description="The states of every module follow each other without gap, and the last is the one in the inventory.",
    )
]
RELEASES = [
    dg.AssetCheckSpec(
        "feed_answers",
        asset=_RELEASES,
        description=f"The feed has answered within the last {STANDSTILL_H:g} hours.",
    ),
    dg.AssetCheckSpec(
        "words_are_fresh",
        asset=_RELEASES,
        description=f"What is known of each project comes from the feed's last answer, {STANDSTILL_H:g} hours old at most.",
    ),
]

_DUPLICATES = """
    SELECT site_id, machine_name FROM ingestion.module_states
    WHERE until_sequence IS NULL AND (CAST(:site_id AS bigint) IS NULL OR site_id = :site_id)
    GROUP BY site_id, machine_name HAVING count(*) > 1 LIMIT 20
"""
_PRESENT = "SELECT count(*) FROM ingestion.module_states WHERE site_id = :site_id AND until_sequence IS NULL AND present"
_SEQUENCE = "SELECT sequence FROM ingestion.sites WHERE id = :site_id"
_GAPS = """
    SELECT site_id, machine_name FROM (
        SELECT site_id, machine_name, sequence, until_sequence, valid_from, valid_to,
               lead(sequence) OVER steps AS next_sequence, lead(valid_from) OVER steps AS next_from
        FROM ingestion.module_states WHERE CAST(:site_id AS bigint) IS NULL OR site_id = :site_id
        WINDOW steps AS (PARTITION BY site_id, machine_name ORDER BY sequence)
    ) s
    WHERE (until_sequence, valid_to) IS DISTINCT FROM (next_sequence, next_from) OR valid_to < valid_from LIMIT 20
"""


def _found(connection: sa.Connection, query: str, site_id: int | None) -> list[str]:
    import sqlalchemy as sa  # noqa: PLC0415

    rows = connection.execute(sa.text(query), {"site_id": site_id})
    return [f"site {row.site_id}: {row.machine_name}" for row in rows]


def check_inventory(
    connection: sa.Connection, *, site_id: int, done: Sequence[Done]
) -> list[dg.AssetCheckResult]:
    """The checks that `module_inventory` makes when it was written."""
    import sqlalchemy as sa  # noqa: PLC0415

    duplicates = _found(connection, _DUPLICATES, site_id)
    applied = [one for one in done if one.applied.state == "applied"]
    wrong = [str(one.ref.id) for one in applied if one.applied.counts.reported != len(one.names)]
    present = connection.execute(sa.text(_PRESENT), {"site_id": site_id}).scalar_one()
    newest = max(applied, key=lambda one: one.applied.sequence or 0, default=None)
    # A sync that is repeated after its run was lost may no longer be the site's newest: then its numbers are history.
    current = connection.execute(sa.text(_SEQUENCE), {"site_id": site_id}).scalar()  # None: no such site
    expected = newest.applied.counts.present if newest and newest.applied.sequence == current else present
    return [
        dg.AssetCheckResult(
            check_name="no_duplicates",
            passed=not duplicates,
            metadata={"duplicates": dg.MetadataValue.json(duplicates)},
        ),
        dg.AssetCheckResult(
            check_name="accounting",
            passed=not wrong and present == expected,
            metadata={"present": present, "expected": expected, "wrong": dg.MetadataValue.json(wrong)},
        ),
    ]


def check_history(connection: sa.Connection, *, site_id: int) -> list[dg.AssetCheckResult]:
    """The check that `version_history` makes."""
    gaps = _found(connection, _GAPS, site_id)
    return [
        dg.AssetCheckResult(
            check_name="agrees_with_inventory",
            passed=not gaps,
            metadata={"wrong": dg.MetadataValue.json(gaps)},
        )
    ]


def check_feed(state: sa.Row[Any], stale: Sequence[sa.Row[Any]]) -> list[dg.AssetCheckResult]:
    """The checks that `drupal_releases` makes: a feed that stands still is an alarm, not silence; so is a word that is old."""
    newest = state.newest_answer
    age_h = (state.now - newest).total_seconds() / 3600 if newest else None
    return [
        dg.AssetCheckResult(
            check_name="feed_answers",
            passed=state.projects == 0 or (age_h is not None and age_h <= STANDSTILL_H),
            metadata={
                "projects": state.projects,
                "last_answer": str(newest) if newest else "never",
                "what_to_do": "See that INGESTION_RELEASE_HISTORY_URL can be reached; until then what is known stays as it is.",
            },
        ),
        dg.AssetCheckResult(
            check_name="words_are_fresh",
            passed=state.stale == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "stale": state.stale,
                "projects": dg.MetadataValue.json(
                    {
                        one.project: f"{one.error or 'not answered'}; known from {one.answered_at}"
                        for one in stale
                    }
                ),
                "what_to_do": "The last good word is kept and the feed is asked again within hours. If it stays so, look at what the feed answers.",
            },
        ),
    ]


@dg.asset_check(asset=_INVENTORY, description="Over all sites: no module twice, no gap in any history.")
def all_sites_agree() -> dg.AssetCheckResult:
    """Look at every site. Run by the hour and by hand, not by every run."""
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    with postgres.engine().connect() as connection:
        duplicates, gaps = _found(connection, _DUPLICATES, None), _found(connection, _GAPS, None)
    metadata: dict[str, dg.MetadataValue] = {
        "duplicates": dg.MetadataValue.json(duplicates),
        "gaps": dg.MetadataValue.json(gaps),
    }
    if duplicates or gaps:
        metadata["what_to_do"] = dg.MetadataValue.text("Rebuild these sites: materialize their partitions.")
    return dg.AssetCheckResult(passed=not duplicates and not gaps, metadata=metadata)
