"""Modules of a user's own project that run as code locations beside ours: as `INGESTION_MODULES` and `pyproject.toml` name them.

Knows neither settings nor Dagster.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "ingestion_assets"
"""Our package, and the location of our own flows."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")


@dataclass(frozen=True, slots=True)
class OwnModule:
    """A code location: the `module` that defines it, the `attribute` that holds its definitions where there are several."""

    location: str
    module: str
    attribute: str | None = None


def read_modules(text: str) -> list[OwnModule]:
    """What `[location=]module[:attribute]`, several with commas between them, names. Raises `ValueError`."""
    found = [_read(one.strip()) for one in text.split(",") if one.strip()]
    for location, number in Counter(one.location for one in found).items():
        if number > 1:
            raise ValueError(
                f"{number} modules would be the code location {location}; name them: name=module"
            )
    return found


def _read(text: str) -> OwnModule:
    name, _, reference = text.rpartition("=")
    if not _MODULE.fullmatch(reference):
        raise ValueError(f"{text!r} names no module; write [location=]package.module[:attribute]")
    module, _, attribute = reference.partition(":")
    location = name or module.partition(".")[0]
    if not _NAME.fullmatch(location) or location == OURS:
        raise ValueError(
            f"{location!r} cannot be the name of a code location of your own; write name={reference}"
        )
    return OwnModule(location, module, attribute or None)


def module_of_project(folder: Path) -> str | None:
    """What the `pyproject.toml` in `folder` says that Dagster loads there, as `INGESTION_MODULES` has it; None where it says nothing.

    It is read as `dg` and `dagster` read it. Our own project is none of the user's.
    """
    try:
        tools = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return None
    project: Mapping[str, Any] = tools.get("dg", {}).get("project", {})
    root = project.get("root_module")
    module = project.get("code_location_target_module") or (f"{root}.definitions" if root else None)
    name = project.get("code_location_name")
    if module is None:
        classic: Mapping[str, Any] = tools.get("dagster", {})
        module, name = classic.get("module_name"), classic.get("code_location_name")
    if not module or module.partition(".")[0] == OURS:
        return None
    return f"{name}={module}" if name and _NAME.fullmatch(name) else str(module)
