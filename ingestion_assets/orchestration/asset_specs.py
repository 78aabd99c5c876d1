"""What assets say of themselves in Dagster: key, group, owners, columns, version, and where their source is."""

import hashlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

OWNERS = ["team:ingestion"]

_AssetBody = Callable[..., dg.MaterializeResult]


def asset_of(
    group: str, name: str, *, check_specs: Sequence[dg.AssetCheckSpec] = (), **more: Any
) -> Callable[[_AssetBody], dg.AssetsDefinition]:
    """`dg.asset` with all that every asset says of itself, for one that is no stage of a claim; `more` as in `asset_arguments`."""
    return dg.asset(**asset_arguments(group, name, **more), check_specs=check_specs)


def asset_arguments(
    group: str,
    name: str,
    *,
    kinds: set[str],
    deps: Sequence[str] = (),
    columns: Mapping[str, str] | dg.TableSchema | None = None,
    metadata: Mapping[str, Any] | None = None,
    code_version: str = "1",
    description: str | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    owners: Sequence[str] = OWNERS,
) -> dict[str, Any]:
    """What an asset says of itself, as `dg.asset` and `dg.AssetSpec` take it. `deps` are names within the group, `columns` maps a column's name to "type: what it means"."""
    schema = columns if isinstance(columns, dg.TableSchema) else _column_schema(columns) if columns else None
    described = {"dagster/column_schema": schema} if schema else {}
    return {
        "key": [group, name],
        "deps": [[group, dep] for dep in deps],
        "group_name": group,
        "kinds": kinds,
        "owners": owners,
        "code_version": code_version,
        "description": description,
        "partitions_def": partitions_def,
        "metadata": {**described, **(metadata or {})},
    }


def written_at(stage: Callable[..., Any]) -> dict[str, dg.MetadataValue]:
    """Where the source of an asset is, which its page in the UI then links to."""
    code = inspect.unwrap(stage).__code__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        place = dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[place])}


def source_digest(modules: Sequence[str], *, also: str = "") -> str:
    """Eight digits that change with the source of these modules, which are not imported for it, and with what is `also` given."""
    digest = hashlib.sha256(also.encode())
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()[:8]


def _column_schema(columns: Mapping[str, str]) -> dg.TableSchema:
    parts = {name: text.partition(":") for name, text in columns.items()}
    return dg.TableSchema(
        [dg.TableColumn(name, kind, description=text.strip()) for name, (kind, _, text) in parts.items()]
    )
