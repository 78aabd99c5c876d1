"""Files that say what is installed on a Drupal site, read into the modules that the API takes. Pure; no I/O.

`drush pm:list --format=json` (with or without `--fields`), `drush core:status --format=json`, `composer.lock`, `core.extension.yml`, and
the API's own JSON. What cannot be mapped is named with its reason, what had to be altered is noted; nothing is dropped in silence.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ingestion_assets.modules.fitting import MisfitError, fit
from ingestion_assets.modules.schema import is_core_version
from ingestion_assets.modules.versions import is_version

Kind = Literal["pm:list", "core:status", "composer.lock", "core.extension.yml", "api"]

_INSTALLED = {
    "drupal-module": "contrib",
    "drupal-theme": "contrib",
    "drupal-profile": "contrib",
    "drupal-custom-module": "custom",
    "drupal-custom-theme": "custom",
    "drupal-custom-profile": "custom",
}
_DISPLAY_NAME = re.compile(r"(?P<name>.*) \((?P<machine>[^()]+)\)", re.DOTALL)
_CORE_PATH = re.compile(r"(^|/)core/(modules|themes|profiles)/")
_CUSTOM_PATH = re.compile(r"(^|/)custom(/|$)")
_PM_LIST_FIELDS = {"status", "display_name", "package", "version", "name"}
_CORE_ALWAYS = {"system", "block", "node", "user"}
_LOCK_SAYS_NOT = "A composer.lock does not say what is enabled; everything in it is reported as enabled."
_STATUS = {"enabled": True, "disabled": False, "not installed": False}


class InventoryError(ValueError):
    """The file is none of those that can be read; says what is wrong."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Something in the file that is no module of the inventory, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a file says. `modules` are in the API's shape; `enabled` names what is enabled where the file says no more
    than that (`core.extension.yml`); `request` is a whole request body where the file is one.
    """

    kind: Kind
    modules: tuple[Mapping[str, Any], ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    notes: tuple[str, ...] = ()
    enabled: frozenset[str] | None = None
    drupal_version: str | None = None
    php_version: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


def read_inventory(text: str, *, name: str = "") -> Inventory:
    """Recognise and read one file. Raises `InventoryError`."""
    text = text.removeprefix("\ufeff")
    if name.endswith((".yml", ".yaml")) or not text.lstrip().startswith(("{", "[")):
        return _core_extension(text)
    try:
        read = json.loads(text)
    except ValueError as error:
        if "<<<<<<<" in text and ">>>>>>>" in text:
            raise InventoryError("it holds the marks of a merge conflict; resolve that first") from error
        raise InventoryError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise InventoryError("it is nested too deeply") from error
    if isinstance(read, list):
        read = {str(index): entry for index, entry in enumerate(read)}
    if isinstance(read.get("packages"), list):
        return _from_composer(read)
    if isinstance(read.get("modules"), list):
        modules, unmapped, notes = _fitting([(f"module {n}", one) for n, one in enumerate(read["modules"])])
        return Inventory(kind="api", modules=modules, unmapped=unmapped, notes=notes, request=read)
    if isinstance(read.get("drupal-version"), str):
        return _from_status(read)
    if any(isinstance(entry, dict) and _PM_LIST_FIELDS & entry.keys() for entry in read.values()):
        return _from_pm_list(read)
    raise InventoryError(
        "it is neither `drush pm:list --format=json`, nor a composer.lock, nor a request body with `modules`"
    )


def _fitting(
    entries: Sequence[tuple[str, Any]], unmapped: Sequence[Unmapped] = ()
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Unmapped, ...], tuple[str, ...]]:
    """The modules that the API takes, each once; what is none of them, after those `unmapped` before; and what was altered."""
    modules: dict[str, Mapping[str, Any]] = {}
    left = list(unmapped)
    notes: list[str] = []
    for label, entry in entries:
        if not isinstance(entry, dict):
            left.append(Unmapped(label, "is no object"))
            continue
        name = str(entry.get("machine_name") or label)
        try:
            module, changes = fit(entry)
        except MisfitError as error:
            left.append(Unmapped(name, str(error)))
            continue
        if name in modules:
            left.append(Unmapped(name, "two entries have this name; the first is taken"))
            continue
        modules[name] = module
        notes += [f"{name}: {change}." for change in changes]
    return tuple(modules.values()), tuple(left), tuple(notes)


def combine(inventory: Inventory, enabled: Inventory) -> Inventory:
    """An inventory with the enabled state of a `core.extension.yml`; what only that one names is unmapped."""
    names = enabled.enabled or frozenset()
    modules = tuple({**one, "status": one["machine_name"] in names} for one in inventory.modules)
    known = {one["machine_name"] for one in modules}
    missing = (
        Unmapped(name, "enabled, but its version is not in the other file") for name in sorted(names - known)
    )
    return replace(
        inventory,
        modules=modules,
        unmapped=(*inventory.unmapped, *missing),
        notes=(*(one for one in inventory.notes if one != _LOCK_SAYS_NOT), *enabled.notes),
    )


def _from_status(read: Mapping[str, Any]) -> Inventory:
    drupal, php = read["drupal-version"], read.get("php-version")
    return Inventory(
        kind="core:status",
        drupal_version=drupal if is_core_version(drupal) else None,
        php_version=php if isinstance(php, str) else None,
        unmapped=() if is_core_version(drupal) else (Unmapped("drupal", f"{drupal[:60]!r} is no version"),),
    )


def _from_pm_list(entries: Mapping[str, Any]) -> Inventory:
    mapped: list[tuple[str, Any]] = []
    unmapped: list[Unmapped] = []
    for key, entry in entries.items():
        if not isinstance(entry, dict):
            unmapped.append(Unmapped(key, "is no object"))
            continue
        display = _DISPLAY_NAME.fullmatch(str(entry.get("display_name") or ""))
        machine = str(entry.get("name") or (display["machine"] if display else key))
        why = _why_unmapped(entry)
        if why is None:
            mapped.append((machine, _pm_list_module(machine, display["name"] if display else machine, entry)))
        else:
            unmapped.append(Unmapped(machine, why))
    modules, left, notes = _fitting(mapped, unmapped)
    of_core = [one for one in modules if one["type"] == "core" and is_core_version(one["version"])]
    core = next((one["version"] for one in of_core if one["machine_name"] in _CORE_ALWAYS), None)
    core = core or next((one["version"] for one in of_core), None)
    return Inventory(kind="pm:list", modules=modules, unmapped=left, notes=notes, drupal_version=core)


def _why_unmapped(entry: Mapping[str, Any]) -> str | None:
    """Why an entry of a list can be no module, None if it can."""
    version = entry.get("version")
    if "status" not in entry:
        return "says nothing of its status; add `status` to --fields"
    if _enabled(entry["status"]) is None:
        return f"its status {str(entry['status'])[:60]!r} is neither Enabled nor Disabled; have drush answer in English"
    if version in (None, ""):
        return "has no version" if "version" in entry else "says no version; add `version` to --fields"
    return None if is_version(str(version)) else f"{str(version)[:60]!r} is no version"


def _enabled(status: object) -> bool | None:
    return status if isinstance(status, bool) else _STATUS.get(str(status).strip().lower())


def _pm_list_module(machine: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    package = str(entry.get("package") or "")
    path = str(entry.get("path") or "")
    project = entry.get("project")
    if project == "drupal" or package.startswith("Core") or _CORE_PATH.search(path):
        kind = "core"
    elif _CUSTOM_PATH.search(path) or (project == "" and path):
        kind = "custom"
    else:
        kind = "contrib"
    module: dict[str, Any] = {
        "machine_name": machine,
        "name": name,
        "type": kind,
        "version": str(entry["version"]),
        "status": _enabled(entry["status"]),
    }
    if package:
        module["package"] = package
    if project:
        module["project"] = str(project)
    return module


def _from_composer(lock: Mapping[str, Any]) -> Inventory:
    mapped: list[tuple[str, Any]] = []
    unmapped: list[Unmapped] = []
    core: str | None = None
    for place in ("packages", "packages-dev"):
        listed = lock.get(place)
        for number, package in enumerate(listed if isinstance(listed, list) else ()):
            if not isinstance(package, dict):
                unmapped.append(Unmapped(f"{place} {number}", "is no object"))
                continue
            full = str(package.get("name", ""))
            vendor, _, machine = full.partition("/")
            kind, version = str(package.get("type", "")), str(package.get("version") or "")
            if kind == "drupal-core":
                if is_core_version(version):
                    core = core or version
                else:
                    unmapped.append(Unmapped(full, f"{version[:60]!r} is no version"))
            elif kind in _INSTALLED:
                module = _composer_module(vendor, machine, kind, package)
                if module is None:
                    unmapped.append(Unmapped(full, f"{version[:60]!r} is no version"))
                else:
                    mapped.append((full, module))
            elif vendor == "drupal" or kind.startswith("drupal-"):
                unmapped.append(Unmapped(full, f"is a {kind}, nothing that a site enables"))
    modules, left, notes = _fitting(mapped, unmapped)
    overrides = lock.get("platform-overrides")
    php = overrides.get("php") if isinstance(overrides, dict) else None
    return Inventory(
        kind="composer.lock",
        modules=modules,
        unmapped=left,
        notes=(_LOCK_SAYS_NOT, *notes),
        drupal_version=core,
        php_version=php if isinstance(php, str) else None,
    )


def _composer_module(
    vendor: str, machine: str, kind: str, package: Mapping[str, Any]
) -> dict[str, Any] | None:
    extra = package.get("extra")
    drupal = extra.get("drupal") if isinstance(extra, dict) else None
    drupal = drupal if isinstance(drupal, dict) else {}
    given = (drupal.get("version"), package.get("version"))
    version = next((one for one in given if isinstance(one, str) and is_version(one)), None)
    if version is None:
        return None
    coverage = drupal.get("security-coverage")
    module: dict[str, Any] = {
        "machine_name": machine,
        "name": machine,
        "type": _INSTALLED[kind] if vendor == "drupal" else "custom",
        "version": version,
        "status": True,
        "security_coverage": isinstance(coverage, dict) and coverage.get("status") == "covered",
    }
    if vendor == "drupal":
        module["project"] = machine
    if isinstance(package.get("description"), str):
        module["description"] = package["description"]
    if datestamp := drupal.get("datestamp"):
        is_number = isinstance(datestamp, str) and datestamp.isascii() and datestamp.isdigit()
        module["datestamp"] = int(datestamp) if is_number and len(datestamp) < 20 else datestamp
    return module


def _core_extension(text: str) -> Inventory:
    import yaml  # noqa: PLC0415 - only this kind of file needs it

    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = (str(error).splitlines() or [""])[0]
        raise InventoryError(f"it is neither JSON nor YAML: {what}") from error
    if not isinstance(read, dict) or not isinstance(read.get("module"), dict):
        raise InventoryError("it is no core.extension.yml: it has no map `module`")
    themes = read["theme"] if isinstance(read.get("theme"), dict) else {}
    return Inventory(
        kind="core.extension.yml",
        enabled=frozenset(map(str, (*read["module"], *themes))),
        notes=("A core.extension.yml says what is enabled, not in which version.",),
    )
