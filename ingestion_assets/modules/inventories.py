"""Files that say what is installed on a Drupal site, read into the modules that the API takes. Pure; no I/O.

`drush pm:list --format=json` (with or without `--fields`), `composer.lock`, `core.extension.yml`, and the API's own JSON.
What cannot be mapped is named with its reason, never dropped in silence.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ingestion_assets.modules.versions import is_version

Kind = Literal["pm:list", "composer.lock", "core.extension.yml", "api"]

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
_NUMBERS = re.compile(r"\d+\.\d+\.\d+")


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
        return Inventory(kind="api", modules=tuple(read["modules"]), request=read)
    if read and all(isinstance(entry, dict) for entry in read.values()):
        return _from_pm_list(read)
    raise InventoryError(
        "it is neither `drush pm:list --format=json`, nor a composer.lock, nor a request body with `modules`"
    )


def combine(inventory: Inventory, enabled: Inventory) -> Inventory:
    """An inventory with the enabled state of a `core.extension.yml`; what only that one names is unmapped."""
    names = enabled.enabled or frozenset()
    modules = tuple({**one, "status": one["machine_name"] in names} for one in inventory.modules)
    known = {one["machine_name"] for one in modules}
    missing = (
        Unmapped(name, "enabled, but its version is not in the other file") for name in sorted(names - known)
    )
    return replace(
        inventory, modules=modules, unmapped=(*inventory.unmapped, *missing), notes=(*enabled.notes,)
    )


def _from_pm_list(entries: Mapping[str, Any]) -> Inventory:
    modules: list[Mapping[str, Any]] = []
    unmapped: list[Unmapped] = []
    for key, entry in entries.items():
        display = _DISPLAY_NAME.fullmatch(str(entry.get("display_name") or ""))
        machine = str(entry.get("name") or (display["machine"] if display else key))
        version = entry.get("version")
        if "status" not in entry:
            unmapped.append(Unmapped(machine, "says nothing of its status; add `status` to --fields"))
        elif not version:
            why = "has no version" if "version" in entry else "says no version; add `version` to --fields"
            unmapped.append(Unmapped(machine, why))
        elif not is_version(str(version)):
            unmapped.append(Unmapped(machine, f"{version!r} is no version"))
        else:
            modules.append(_pm_list_module(machine, display["name"] if display else machine, entry))
    core = next(
        (m["version"] for m in modules if m["machine_name"] in {"system", "block", "node", "user"}), None
    )
    core = core or next((m["version"] for m in modules if m["type"] == "core"), None)
    return Inventory(kind="pm:list", modules=tuple(modules), unmapped=tuple(unmapped), drupal_version=core)


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
        "status": str(entry["status"]).lower() == "enabled",
    }
    if package:
        module["package"] = package
    if project:
        module["project"] = str(project)
    return module


def _from_composer(lock: Mapping[str, Any]) -> Inventory:
    modules: list[Mapping[str, Any]] = []
    unmapped: list[Unmapped] = []
    core: str | None = None
    packages = [
        one for one in (*lock["packages"], *(lock.get("packages-dev") or ())) if isinstance(one, dict)
    ]
    for package in packages:
        vendor, _, machine = str(package.get("name", "")).partition("/")
        kind = str(package.get("type", ""))
        if kind == "drupal-core":
            core = _plain(package.get("version"))
        elif kind in _INSTALLED and (module := _composer_module(vendor, machine, kind, package)) is not None:
            modules.append(module)
        elif kind in _INSTALLED:
            unmapped.append(Unmapped(f"{vendor}/{machine}", f"{package.get('version')!r} is no version"))
        elif vendor == "drupal" or kind.startswith("drupal-"):
            unmapped.append(Unmapped(f"{vendor}/{machine}", f"is a {kind}, nothing that a site enables"))
    php = (
        (lock.get("platform-overrides") or {}).get("php")
        if isinstance(lock.get("platform-overrides"), dict)
        else None
    )
    return Inventory(
        kind="composer.lock",
        modules=tuple(_without_repetitions(modules, unmapped)),
        unmapped=tuple(unmapped),
        notes=("A composer.lock does not say what is enabled; everything in it is reported as enabled.",),
        drupal_version=core,
        php_version=php,
    )


def _composer_module(
    vendor: str, machine: str, kind: str, package: Mapping[str, Any]
) -> dict[str, Any] | None:
    extra = package.get("extra")
    drupal = extra.get("drupal") if isinstance(extra, dict) else None
    drupal = drupal if isinstance(drupal, dict) else {}
    given = (drupal.get("version"), package.get("version"))
    version = next((str(one) for one in given if one and is_version(str(one))), None)
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
    datestamp = str(drupal.get("datestamp") or "")
    if datestamp.isascii() and datestamp.isdigit():
        module["datestamp"] = int(datestamp)
    return module


def _without_repetitions(
    modules: Sequence[Mapping[str, Any]], unmapped: list[Unmapped]
) -> Iterable[Mapping[str, Any]]:
    seen: set[str] = set()
    for module in modules:
        if module["machine_name"] in seen:
            unmapped.append(
                Unmapped(module["machine_name"], "two packages have this name; the first is taken")
            )
        else:
            seen.add(module["machine_name"])
            yield module


def _plain(version: Any) -> str | None:
    found = _NUMBERS.search(str(version or ""))
    return found.group() if found else None


def _core_extension(text: str) -> Inventory:
    import yaml  # noqa: PLC0415 - only this kind of file needs it

    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InventoryError(f"it is neither JSON nor YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(read, dict) or not isinstance(read.get("module"), dict):
        raise InventoryError("it is no core.extension.yml: it has no map `module`")
    themes = read["theme"] if isinstance(read.get("theme"), dict) else {}
    return Inventory(
        kind="core.extension.yml",
        enabled=frozenset(map(str, (*read["module"], *themes))),
        notes=("A core.extension.yml says what is enabled, not in which version.",),
    )
