"""The assets of the modules flow: the stages of a run's claim of one site's syncs, and the releases that drupal.org tells of."""

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.modules import checks
from ingestion_assets.modules.flow import MODULES, NAME, SITES
from ingestion_assets.orchestration.asset_specs import asset_of
from ingestion_assets.orchestration.reporting import rejects_table
from ingestion_assets.orchestration.stages import Stages

if TYPE_CHECKING:
    from ingestion_assets.modules.work import ModulesWork
    from ingestion_assets.orchestration.claiming import Working

POSTGRES = {"postgres"}
SITE_PARTITIONS = dg.DynamicPartitionsDefinition(name=SITES)
PROJECTS_A_RUN = 500


def _start(run: "Working") -> "ModulesWork":
    from ingestion_assets.modules.settings import ModulesSettings  # noqa: PLC0415
    from ingestion_assets.modules.sync import RemovalGuard  # noqa: PLC0415
    from ingestion_assets.modules.work import ModulesWork  # noqa: PLC0415
    from ingestion_assets.orchestration.retries import is_transient  # noqa: PLC0415
    from ingestion_assets.settings import load_flow_settings  # noqa: PLC0415

    settings = load_flow_settings(ModulesSettings)
    return ModulesWork(
        claim=run.claim,
        site_id=int(run.partition),
        storage=run.storage,
        engine=run.engine,
        guard=RemovalGuard(share=settings.removal_guard_share, at_least=settings.removal_guard_at_least),
        is_transient=is_transient,
    )


stages = Stages(flow=MODULES, partitions_def=SITE_PARTITIONS, start=_start)

raw_batches = stages.raw_batches(
    "Syncs that landed for a site, as they were sent. A run works on its claim of them.", kinds={"json"}
)


@stages.asset(
    deps=["raw_batches"],
    kinds=POSTGRES,
    columns={
        "site_id": "bigint: the site",
        "machine_name": "text: the module, once a site",
        "version": "text: as Drupal writes it",
        "status": "boolean: whether it is enabled",
        "present": "boolean: false once a full sync no longer reported it",
        "valid_from": "timestamptz: the snapshot from which this state was true",
        "sequence": "bigint: the sync, counted by site, that told of it",
    },
    check_specs=checks.INVENTORY,
)
def module_inventory(work: "ModulesWork") -> dg.MaterializeResult:
    """What is installed on the site: each sync compared with it and written as a whole, or not at all."""
    from ingestion_assets.modules.sites import get_site  # noqa: PLC0415

    done = work.done()
    counts = [one.applied.counts for one in done if one.applied.state == "applied"]
    with work.engine.connect() as connection:
        results = checks.check_inventory(connection, site_id=work.site_id, done=done)
        site = get_site(connection, work.site_id)
    return dg.MaterializeResult(
        metadata={
            "site": f"{work.site_id}: {site.name if site else 'deleted'}",
            "dagster/partition_row_count": counts[-1].present if counts else 0,
            "received": sum(len(one.names) for one in done),
            "new": sum(one.new for one in counts),
            "returned": sum(one.returned for one in counts),
            "modified": sum(one.modified for one in counts),
            "removed": sum(one.removed for one in counts),
            "unchanged": sum(one.unchanged for one in counts),
            "superseded": sum(one.applied.state == "superseded" for one in done),
            "held": sum(one.applied.state == "held" for one in done),
            "payloads_failed": len(work.failed()),
            **rejects_table(work.failed()),
        },
        check_results=results,
    )


@stages.asset(
    deps=["module_inventory"],
    kinds=POSTGRES,
    columns={
        "site_id": "bigint: the site",
        "machine_name": "text: the module",
        "sequence": "bigint: the sync that told of this state",
        "until_sequence": "bigint: the sync that told of the next; null for what is installed now",
        "valid_from": "timestamptz: from when it was true, by the site's time",
        "valid_to": "timestamptz: until when",
        "present": "boolean: false for a module that was removed",
        "version": "text: as Drupal writes it",
        "status": "boolean: whether it was enabled",
    },
    check_specs=checks.HISTORY,
)
def version_history(work: "ModulesWork") -> dg.MaterializeResult:
    """Every state that a module of the site was ever in, by the site's time and by ours."""
    counts = [one.applied.counts for one in work.done() if one.applied.state == "applied"]
    with work.engine.connect() as connection:
        results = checks.check_history(connection, site_id=work.site_id)
    return dg.MaterializeResult(
        metadata={
            "version_changes": sum(one.updated for one in counts),
            "enabled": sum(one.enabled for one in counts),
            "disabled": sum(one.disabled for one in counts),
        },
        check_results=results,
    )


@stages.asset(
    deps=["module_inventory", "drupal_releases"],
    kinds=POSTGRES,
    columns={
        "project": "text: name on drupal.org",
        "version": "text: what is installed",
        "datestamp": "bigint: of a development snapshot, else 0",
        "status": "text: what drupal.org says of it",
        "needs_security_update": "boolean: null where nobody can tell, with the reason",
        "recommended": "text: the release to go to",
        "security_updates": "text[]: the releases that mend it",
    },
)
def security_status(work: "ModulesWork") -> dg.MaterializeResult:
    """What drupal.org's releases say of what is installed; a new release is judged for all sites when it becomes known."""
    return dg.MaterializeResult(metadata={"versions_judged": work.judged()})


ingestion_log = stages.ingestion_log(
    "One result a sync, and its receipt: the claim ends here, clients get their answers, webhooks are told.",
    deps=["version_history", "security_status"],
    kinds=POSTGRES,
    accounting="Every payload has a result or the reason why not.",
    accounts=lambda outcome: bool(outcome.result.get("sync_id")),
    figures=lambda outcomes: {
        "security_updates_found": sum(one.result.get("security_updates_found", 0) for one in outcomes)
    },
)


@asset_of(
    NAME,
    "drupal_releases",
    kinds={"postgres", "xml"},
    columns={
        "project": "text: name on drupal.org",
        "version": "text: the release",
        "types": "text[]: Security update, Insecure, Unsupported, Bug fixes…",
        "published": "boolean: false for a release that was revoked",
    },
    check_specs=checks.RELEASES,
)
def drupal_releases(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The releases of every project that some site has, asked for conditionally; what changed is judged for all sites at once."""
    from ingestion_assets.modules import feed  # noqa: PLC0415
    from ingestion_assets.modules.settings import ModulesSettings  # noqa: PLC0415
    from ingestion_assets.settings import load_flow_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    settings, engine = load_flow_settings(ModulesSettings), postgres.engine()
    source = feed.Feed(base_url=settings.release_history_url, per_second=settings.release_history_per_second)
    try:
        asked = feed.ask_all(engine, feed.due(engine, limit=PROJECTS_A_RUN), ask=source.ask)
    finally:
        source.close()
    for project, error in list(asked.failed.items())[:20]:
        context.log.warning(f"{project}: {error}")
    with engine.connect() as connection:
        now, stale = feed.state(connection), feed.stale(connection)
    return dg.MaterializeResult(
        metadata={
            "asked": asked.asked,
            "changed": asked.changed,
            "unmodified": asked.unmodified,
            "unknown_to_the_feed": asked.unknown,
            "failed": len(asked.failed),
            "answered_too_late": asked.late,
            "versions_judged": asked.judged,
            "projects": now.projects,
            "never_answered": now.unanswered,
            "stale": now.stale,
        },
        check_results=checks.check_feed(now, stale),
    )


ASSETS = [raw_batches, module_inventory, version_history, drupal_releases, security_status, ingestion_log]
