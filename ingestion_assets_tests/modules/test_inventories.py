"""Files of real sites become modules; what cannot be mapped is named."""

import json
from pathlib import Path

import pytest

from ingestion_assets.modules.inventories import InventoryError, combine, read_inventory

SHARED = "modules"


def test_pm_list_without_fields(shared_data: Path) -> None:
    text = (shared_data / SHARED / "pm-list" / "webny-8.0.5-blank-versions.pm-list.json").read_text()
    inventory = read_inventory(text)
    assert len(inventory.modules) == 29
    assert sorted(one.name for one in inventory.unmapped) == [
        "security_review", "webny_configuration", "webny_image_styles", "webny_workflow_basic_configuration",
    ]  # fmt: skip
    assert inventory.drupal_version == "8.0.5"
    ctools = next(one for one in inventory.modules if one["machine_name"] == "ctools")
    assert ctools == {
        "machine_name": "ctools", "name": "Chaos tools", "type": "contrib", "version": "8.x-3.0-alpha23",
        "status": True, "package": "Chaos tool suite",
    }  # fmt: skip


def test_pm_list_with_fields() -> None:
    fields = {"package": "X", "project": "", "display_name": "Own (own)", "name": "own", "type": "Module",
              "path": "modules/custom/own", "status": "Disabled", "version": "1.0.0"}  # fmt: skip
    submodule = fields | {
        "project": "webform",
        "name": "webform_ui",
        "path": "modules/contrib/webform/modules/webform_ui",
    }
    inventory = read_inventory(json.dumps({"own": fields, "webform_ui": submodule}))
    own, part = inventory.modules
    assert (own["type"], own["status"], part["type"], part["project"]) == (
        "custom",
        False,
        "contrib",
        "webform",
    )
    only_names = read_inventory(json.dumps({"own": {"name": "own", "status": "Enabled"}}))
    assert "--fields" in only_names.unmapped[0].reason


def test_composer_lock(shared_data: Path) -> None:
    text = (shared_data / SHARED / "composer-lock" / "UN-OCHA__common-design-site.composer.lock").read_text()
    inventory = read_inventory(text)
    named = {one["machine_name"]: one for one in inventory.modules}
    assert len(named) == 51 + 5 + 1 + 1
    assert named["config_filter"]["version"] == "8.x-2.7"
    assert named["aws"]["version"] == "2.0.4+1-dev"
    assert named["ocha_media_content"]["version"] == "dev-main"
    assert named["ocha_search"]["type"] == "custom"
    assert inventory.drupal_version == "10.4.0"
    assert {one.name for one in inventory.unmapped} == {
        "drupal/coder", "drupal/core-composer-scaffold", "drupal/core-dev", "drupal/core-recommended",
    }  # fmt: skip


def test_merge_conflicts_are_named(shared_data: Path) -> None:
    for path in (shared_data / SHARED / "composer-lock" / "broken").glob("*.lock"):
        with pytest.raises(InventoryError, match="merge conflict"):
            read_inventory(path.read_text())


def test_core_extension_says_what_is_enabled(shared_data: Path) -> None:
    extension = read_inventory("module:\n  aws: 0\n  node: 0\ntheme:\n  stable: 0\nprofile: standard\n")
    assert extension.enabled == {"aws", "node", "stable"}
    lock = (shared_data / SHARED / "composer-lock" / "UN-OCHA__common-design-site.composer.lock").read_text()
    both = combine(read_inventory(lock), extension)
    assert {one["machine_name"] for one in both.modules if one["status"]} == {"aws", "stable"}
    assert "node" in {one.name for one in both.unmapped}


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"a": 1}', "- a\n", "module: 3", "[" * 100_000])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(InventoryError):
        read_inventory(text)
