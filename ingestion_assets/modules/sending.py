"""A site's inventory as a request: files read together, what is missing told. Sending it is `ingestion send drupal`'s matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingestion_assets.modules.inventories import Inventory, InventoryError, Unmapped, combine, read_inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request to be, and what of the files is not in it."""

    body: Mapping[str, Any]
    unmapped: Sequence[Unmapped]
    notes: Sequence[str]


def read_files(files: Sequence[tuple[str, str]]) -> Inventory:
    """The inventory of one file, or of one with versions and one `core.extension.yml`. Raises `InventoryError`."""
    read = []
    for name, text in files:
        try:
            read.append(read_inventory(text, name=name))
        except InventoryError as error:
            raise InventoryError(f"{name}: {error}") from error
    whole = [one for one in read if one.enabled is None]
    enabled = [one for one in read if one.enabled is not None]
    if len(whole) > 1 or len(enabled) > 1:
        raise InventoryError("give one file with versions, and at most one core.extension.yml beside it")
    if not whole:
        return enabled[0]
    return combine(whole[0], enabled[0]) if enabled else whole[0]


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
    php = php_version or request.get("php_version") or inventory.php_version
    if not php:
        php = "0.0.0"
        notes.append(
            "The file does not say which PHP runs; it is sent as 0.0.0. Give --php-version to say it."
        )
    if not inventory.modules:
        raise InventoryError("there is no module in it that could be sent")
    stamp = (
        taken_at.isoformat() if taken_at else request.get("sync_timestamp") or datetime.now(UTC).isoformat()
    )
    body = {
        "site_info": request.get("site_info") or {"sent_from": inventory.kind},
        "modules": list(inventory.modules),
        "sync_timestamp": stamp,
        "drupal_version": drupal,
        "php_version": php,
        "sync_type": "partial" if partial else request.get("sync_type", "full"),
    }
    return Outgoing(body=body, unmapped=inventory.unmapped, notes=notes)


def _reported(module: Mapping[str, Any]) -> dict[str, Any]:
    beside = {"first_seen", "last_seen", "removed_at", "security"}
    return {key: value for key, value in module.items() if key not in beside}
