"""A site's inventory as a request: files read together, what is missing told. Sending it is `ingestion send drupal`'s matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ingestion_assets.modules.inventories import Inventory, InventoryError, Unmapped, combine, read_inventory
from ingestion_assets.modules.schema import MAX_MODULES, as_php_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request to be, and what of the files is not in it."""

    body: Mapping[str, Any]
    unmapped: Sequence[Unmapped]
    notes: Sequence[str]


def read_files(files: Sequence[tuple[str, str]]) -> Inventory:
    """The inventory of one file with versions, beside it at most one `core.extension.yml` and one `core:status`.

    Raises `InventoryError`.
    """
    read = []
    for name, text in files:
        try:
            read.append(read_inventory(text, name=name))
        except InventoryError as error:
            raise InventoryError(f"{name}: {error}") from error
    status = [one for one in read if one.kind == "core:status"]
    enabled = [one for one in read if one.enabled is not None]
    whole = [one for one in read if one not in status and one not in enabled]
    if max(map(len, (whole, enabled, status))) > 1:
        raise InventoryError(
            "give one file with versions, and beside it at most one core.extension.yml and one core:status"
        )
    if not whole and not enabled:
        raise InventoryError("core:status names no modules; give it beside a list of them")
    inventory = whole[0] if whole else enabled[0]
    if whole and enabled:
        inventory = combine(inventory, enabled[0])
    if status:
        inventory = replace(
            inventory,
            drupal_version=status[0].drupal_version or inventory.drupal_version,
            php_version=status[0].php_version or inventory.php_version,
            unmapped=(*inventory.unmapped, *status[0].unmapped),
        )
    return inventory


def outgoing(
    inventory: Inventory,
    *,
    known: Sequence[Mapping[str, Any]] = (),
    drupal_version: str | None = None,
    php_version: str | None = None,
    taken_at: datetime | None = None,
    partial: bool = False,
) -> Outgoing:
    """The request for an inventory. `known`: the site's modules as the server has them, for a `core.extension.yml` alone.

    Raises `InventoryError` where something is missing that cannot be made up.
    """
    notes = list(inventory.notes)
    if inventory.enabled is not None and inventory.kind == "core.extension.yml":
        versions = Inventory(kind="api", modules=tuple(map(_reported, known)))
        inventory = combine(versions, inventory)
        partial = True
        notes.append("The versions are those that the server knows of.")
    request = dict(inventory.request)
    drupal = drupal_version or request.get("drupal_version") or inventory.drupal_version
    if not drupal:
        raise InventoryError("the file does not say which Drupal runs; give --drupal-version")
    php = php_version or request.get("php_version") or _php(inventory.php_version, notes)
    modules, beyond = inventory.modules[:MAX_MODULES], inventory.modules[MAX_MODULES:]
    unmapped = [
        *inventory.unmapped,
        *(
            Unmapped(one["machine_name"], f"one sync takes {MAX_MODULES} modules; this one lies beyond them")
            for one in beyond
        ),
    ]
    if not modules:
        why = "".join(f"; {one.name}: {one.reason}" for one in unmapped[:3])
        raise InventoryError(f"there is no module in it that could be sent{why}")
    stamp = (
        taken_at.isoformat() if taken_at else request.get("sync_timestamp") or datetime.now(UTC).isoformat()
    )
    body = {
        "site_info": request.get("site_info") or {"sent_from": inventory.kind},
        "modules": list(modules),
        "sync_timestamp": stamp,
        "drupal_version": drupal,
        "php_version": php,
        "sync_type": "partial" if partial else request.get("sync_type", "full"),
    }
    return Outgoing(body=body, unmapped=unmapped, notes=notes)


def _php(said: str | None, notes: list[str]) -> str:
    """PHP's version as a file says it; noted where it says none that the API takes."""
    version = as_php_version(said) if said else None
    if version is None:
        what = f"says PHP {said[:60]!r}, which is no version" if said else "does not say which PHP runs"
        notes.append(f"The file {what}; it is sent as 0.0.0. Give --php-version to say it.")
    return version or "0.0.0"


def _reported(module: Mapping[str, Any]) -> dict[str, Any]:
    beside = {"first_seen", "last_seen", "removed_at", "security"}
    return {key: value for key, value in module.items() if key not in beside}
