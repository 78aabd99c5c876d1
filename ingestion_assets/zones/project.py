"""The zones of a project on this machine, and whether each could be in force: for a person who is writing one."""

import tomllib
from pathlib import Path
from typing import Any

from ingestion_assets.zones.document import ZoneError

_PLACES = (
    ("dg", "project", "code_location_target_module"),
    ("dagster", "module_name"),
)


def module_of_project(folder: Path) -> str:
    """The module with the definitions of the project in this folder, by its `pyproject.toml`. Raises `ZoneError`."""
    try:
        tool: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get(
            "tool", {}
        )
    except FileNotFoundError:
        raise ZoneError(
            "there is no pyproject.toml in this folder; name the module with the definitions"
        ) from None
    for place in _PLACES:
        found: Any = tool
        for name in place:
            found = found.get(name, {}) if isinstance(found, dict) else {}
        if isinstance(found, str):
            return found
    root = tool.get("dg", {}).get("project", {}).get("root_module")
    if root is None:
        raise ZoneError(
            "the pyproject.toml in this folder names no Dagster project; name the module with the definitions"
        )
    return f"{root}.definitions"


def zones_of(module: str | None) -> dict[str, str | None]:
    """By name the zones that the module's definitions make, and why one cannot be in force. Raises `ZoneError`."""
    from ingestion_assets.orchestration.dagster_internals import (  # noqa: PLC0415
        loadable_targets_from_python_module,
        repository_def_from_target_def,
    )
    from ingestion_assets.zones.zone_assets import made  # noqa: PLC0415

    module = module or module_of_project(Path.cwd())
    try:
        for target in loadable_targets_from_python_module(module, working_directory=None):
            repository_def_from_target_def(target.target_definition)
    except Exception as error:  # whatever a project raises; the innermost reason is that of the zone
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        raise ZoneError(f"the definitions of {module} cannot be loaded: {error}") from error
    return {zone.name: _fault(zone) for zone in made}


def _fault(zone: Any) -> str | None:
    try:
        zone.secrets()
    except ZoneError as error:
        return str(error)
    return None
