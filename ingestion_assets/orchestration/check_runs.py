"""Evaluating checks from a command: those that need no claim anew, in this process; of the others, the last word on each partition."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from ingestion_assets.orchestration.check_states import CheckState, newest_states
from ingestion_assets.orchestration.dagster_internals import AssetGraph

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class NoSuchCheckError(Exception):
    """What was selected is no check; names those that there are."""


def selected(definitions: Sequence[dg.RepositoryDefinition], chosen: Sequence[str]) -> set[dg.AssetCheckKey]:
    """The checks that `chosen` name: a group, `notes`; an asset, `notes/notes`; or one check of it,
    `notes/notes:reject_rate`. All of them where nothing is chosen."""
    keys = {
        f"{key.asset_key.to_user_string()}:{key.name}": key
        for repository in definitions
        for key in repository.asset_graph.asset_check_keys
    }
    if not chosen:
        return set(keys.values())
    found: set[dg.AssetCheckKey] = set()
    for one in chosen:
        matching = {
            key for name, key in keys.items() if name == one or name.startswith((f"{one}/", f"{one}:"))
        }
        if not matching:
            raise NoSuchCheckError(f"there is no check {one}; there are: {', '.join(sorted(keys))}")
        found |= matching
    return found


def evaluate(
    definitions: Sequence[dg.RepositoryDefinition],
    instance: dg.DagsterInstance,
    checks: set[dg.AssetCheckKey],
    *,
    since: timedelta | None,
    now: datetime,
) -> tuple[list[CheckState], list[str]]:
    """The last words of these checks, after evaluating those that can be; and the names of those that could not, or never were.

    The first of `definitions` is ours, whose jobs without partitions look at what is stored. What the others' write is not written for
    their checks: a CI asks, it trains no model.
    """
    names = {key: f"{key.asset_key.to_user_string()}:{key.name}" for key in checks}
    tried: set[dg.AssetCheckKey] = set()
    evaluated: set[dg.AssetCheckKey] = set()
    jobs = [
        (job, repository is definitions[0]) for repository in definitions for job in repository.get_all_jobs()
    ]
    for job, is_ours in sorted(
        jobs, key=lambda one: _is_implicit(one[0])
    ):  # the implicit ones last, for what no other has
        if job.partitions_def is not None and not _is_implicit(job):
            continue
        graph = job.asset_layer.asset_graph
        mine = {key for key in checks & set(graph.asset_check_keys) if not _has_partitions(graph, key)}
        if _is_implicit(job) or not is_ours:
            mine = {key for key in mine - tried if not _is_made_with_its_asset(graph, key)}
            assets, wanted = set[dg.AssetKey](), mine
        else:
            assets = {key.asset_key for key in mine} & set(job.asset_layer.executable_asset_keys)
            wanted = {
                key for key in graph.asset_check_keys if key in mine or key.asset_key in assets
            }  # made with their asset
        if not mine:
            continue
        part = job.get_subset(asset_selection=assets, asset_check_selection=wanted)
        done = part.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
        tried |= mine
        evaluated |= {one.asset_check_key for one in done.get_asset_check_evaluations()}
    states = _last_words(definitions, instance, checks, since=None if since is None else now - since)
    told = {one.name for one in states}
    unheard = {
        key
        for repository in definitions
        for key in checks & set(repository.asset_graph.asset_check_keys) - tried
        if names[key] not in told and not _follows_its_asset(repository.asset_graph, key)
    }
    if unheard and since is not None:  # of what is left out for its age something is known
        before = {one.name for one in _last_words(definitions, instance, unheard, since=None)}
        unheard = {key for key in unheard if names[key] not in before}
    return states, sorted(names[key] for key in tried - evaluated | unheard)


def _last_words(
    definitions: Sequence[dg.RepositoryDefinition],
    instance: dg.DagsterInstance,
    checks: set[dg.AssetCheckKey],
    *,
    since: datetime | None,
) -> list[CheckState]:
    # A check that belongs to partitions by now may have been evaluated on its whole asset by an earlier release.
    by_partition = {
        f"{key.asset_key.to_user_string()}:{key.name}": _has_partitions(repository.asset_graph, key)
        for repository in definitions
        for key in checks & set(repository.asset_graph.asset_check_keys)
    }
    states = newest_states(instance, assets=sorted({key.asset_key for key in checks}, key=str), since=since)
    return [one for one in states if by_partition.get(one.name) == (one.partition is not None)]


def _is_implicit(job: dg.JobDefinition) -> bool:
    """Whether Dagster made the job, of all assets and checks."""
    return job.name.startswith("__")


def _has_partitions(graph: AssetGraph, check: dg.AssetCheckKey) -> bool:
    return graph.get_check_spec(check).partitions_def is not None


def _is_made_with_its_asset(graph: AssetGraph, check: dg.AssetCheckKey) -> bool:
    return bool(graph.assets_def_for_key(check).keys)


def _follows_its_asset(graph: AssetGraph, check: dg.AssetCheckKey) -> bool:
    """Whether the runs that write a partition say of it what there is to say: where nothing is said, nothing was written."""
    return _has_partitions(graph, check) and _is_made_with_its_asset(graph, check)
