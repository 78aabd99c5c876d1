"""What Dagster tags a materialization with, to tell what is stale; for those that are told to it beside its own."""

from collections.abc import Iterable

import dagster as dg

from ingestion_assets.orchestration import dagster_internals as internals


def version_tags(specs: Iterable[dg.AssetSpec]) -> dict[dg.AssetKey, dict[str, str]]:
    """By asset the tags that Dagster gives it in a run of all of them, in their order."""
    versions: dict[dg.AssetKey, dg.DataVersion] = {}
    tags: dict[dg.AssetKey, dict[str, str]] = {}
    for spec in specs:
        inputs = {
            dep.asset_key: versions.get(dep.asset_key, internals.DEFAULT_DATA_VERSION) for dep in spec.deps
        }
        version = internals.compute_logical_data_version(spec.code_version or "1", inputs)
        versions[spec.key] = version
        tags[spec.key] = {
            internals.CODE_VERSION_TAG: spec.code_version or "1",
            internals.DATA_VERSION_TAG: version.value,
            **{internals.get_input_data_version_tag(key): one.value for key, one in inputs.items()},
            **{internals.get_input_event_pointer_tag(key): internals.NULL_EVENT_POINTER for key in inputs},
        }
    return tags
