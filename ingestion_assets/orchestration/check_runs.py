"""Evaluating checks from a command: those that need no claim anew, in this process; of the others, the last word on each partition."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from ingestion_assets.orchestration.check_states import CheckState, newest_states

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
    """The last words of these checks, after evaluating those that can be; and the names of those that could not."""
    names = {key: f"{key.asset_key.to_user_string()}:{key.name}" for key in checks}
    unable: list[str] = []
    for job in [job for repository in definitions for job in repository.get_all_jobs()]:
        graph = job.asset_layer.asset_graph
        mine = {key for key in graph.asset_check_keys if key in checks}
        if job.name.startswith("__") or not mine or job.partitions_def is not None:
            continue
        assets = {key.asset_key for key in mine} & set(job.asset_layer.executable_asset_keys)
        wanted = {
            key for key in graph.asset_check_keys if key in mine or key.asset_key in assets
        }  # made with their asset
        part = job.get_subset(asset_selection=assets, asset_check_selection=wanted)
        done = part.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
        evaluated = {one.asset_check_key for one in done.get_asset_check_evaluations()}
        unable += sorted(names[key] for key in mine - evaluated)
    oldest = None if since is None else now - since
    assets_of = sorted({key.asset_key for key in checks}, key=str)
    # A check that belongs to partitions by now may have been evaluated on its whole asset by an earlier release.
    by_partition = {
        names[key]: repository.asset_graph.get_check_spec(key).partitions_def is not None
        for repository in definitions
        for key in checks & set(repository.asset_graph.asset_check_keys)
    }
    states = newest_states(instance, assets=assets_of, since=oldest)
    return [one for one in states if by_partition.get(one.name) == (one.partition is not None)], unable
