"""`ingestion send drupal` with real files: old, then new, of the same site; the difference agrees with one computed apart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestion_assets.sending.cli import app
from ingestion_assets_tests.modules.front import ADMIN, Front, serving

LOCKS = ("City-of-Helsinki__drupal-helfi-etusivu", "UN-OCHA__common-design-site")
OLDEST = {"City-of-Helsinki__drupal-helfi-etusivu": "a1e87445c6", "UN-OCHA__common-design-site": "d146d079d9"}
KINDS = {
    "drupal-module",
    "drupal-theme",
    "drupal-profile",
    "drupal-custom-module",
    "drupal-custom-theme",
    "drupal-custom-profile",
}


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with serving(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url) as running:
        yield running


def send(front: Front, site_id: int, key: str, *arguments: str, text: str | None = None):
    command = [
        "drupal",
        "--site",
        str(site_id),
        "--url",
        front.url,
        "--key",
        key,
        "--retry-for",
        "1s",
        *arguments,
    ]
    return CliRunner().invoke(app, command, input=text, catch_exceptions=False)


def installed(lock: Path) -> dict[str, str]:
    """Names and versions in a composer.lock, read here on its own."""
    read = json.loads(lock.read_text())
    packages = [one for one in read["packages"] + read["packages-dev"] if one["type"] in KINDS]
    drupal = {one["name"]: (one.get("extra") or {}).get("drupal") for one in packages}
    return {
        one["name"].split("/")[1]: (drupal[one["name"]] or {}).get("version", one["version"])
        for one in packages
    }


@pytest.mark.parametrize("name", LOCKS)
def test_old_then_new_composer_lock(front: Front, shared_data: Path, name: str) -> None:
    folder = shared_data / "modules" / "composer-lock"
    old, new = folder / f"{name}.oldest-{OLDEST[name]}.composer.lock", folder / f"{name}.composer.lock"
    site_id, key = front.site()
    first = json.loads(send(front, site_id, key, "--json", str(old)).stdout)
    before, after = installed(old), installed(new)
    assert first["new_modules"] == len(before)
    answer = send(front, site_id, key, "--json", "--confirm-removals", str(new))
    assert answer.exit_code == 0
    second = json.loads(answer.stdout)
    both = before.keys() & after.keys()
    assert (second["new_modules"], second["removed_modules"], second["updated_modules"]) == (
        len(after.keys() - before.keys()),
        len(before.keys() - after.keys()),
        sum(before[one] != after[one] for one in both),
    )
    with front.client(key) as client:
        items = client.get(f"/sites/{site_id}/modules", params={"removed": False}).json()["items"]
    assert {one["machine_name"]: one["version"] for one in items} == after


def test_pm_list_in_both_forms(front: Front, shared_data: Path, tmp_path: Path) -> None:
    """drush's default columns, then the columns that the documentation asks for, of the same real list with some changes made to it."""
    given = shared_data / "modules" / "pm-list" / "amsterdam-dataportaal-8.7.7.pm-list.json"
    entries: dict[str, dict[str, str]] = json.loads(given.read_text())
    site_id, key = front.site()
    first = json.loads(send(front, site_id, key, "--json", str(given)).stdout)
    again = json.loads(send(front, site_id, key, "--json", str(given)).stdout)
    assert (first["new_modules"], again["unchanged_modules"], again["modified_modules"]) == (
        len(entries), len(entries), 0,
    )  # fmt: skip

    later = {
        name: entry | {"name": name, "type": "module", "project": "", "path": f"modules/contrib/{name}"}
        for name, entry in entries.items()
    }
    enabled = [name for name, entry in entries.items() if entry["status"] == "Enabled"]
    removed, updated, disabled = enabled[0], enabled[1], set(enabled[2:5])
    del later[removed]
    later[updated]["version"] = "99.1.0"
    for name in disabled:
        later[name]["status"] = "Disabled"
    file = tmp_path / "later.json"
    file.write_text(json.dumps(later))
    changes = json.loads(send(front, site_id, key, "--json", str(file)).stdout)
    counted = ("new_modules", "removed_modules", "updated_modules", "disabled_modules", "enabled_modules")
    assert [changes[name] for name in counted] == [0, 1, 1, len(disabled), 0]
    with front.client(key) as client:
        items = client.get(f"/sites/{site_id}/modules", params={"removed": False}).json()["items"]
    assert {one["machine_name"]: (one["version"], one["status"]) for one in items} == {
        name: (entry["version"], entry["status"] == "Enabled") for name, entry in later.items()
    }


def test_pm_list_from_standard_input_says_what_it_could_not_map(front: Front, shared_data: Path) -> None:
    site_id, key = front.site()
    text = (shared_data / "modules" / "pm-list" / "webny-8.0.5-blank-versions.pm-list.json").read_text()
    answer = send(front, site_id, key, "--php-version", "8.1.0", "-", text=text)
    assert answer.exit_code == 0
    assert "29 modules; 29 new" in answer.stdout
    assert "4 entries were not mapped" in answer.stderr
    assert "security_review: has no version" in answer.stderr
    extension = "module:\n  ctools: 0\n  block: 0\n  nobody: 0\n"
    answer = send(front, site_id, key, "--drupal-version", "8.0.5", "--json", "-", text=extension)
    assert json.loads(answer.stdout)["disabled_modules"] == 27
    assert "nobody" in answer.stderr


def test_what_goes_wrong_is_said(front: Front, shared_data: Path, tmp_path: Path) -> None:
    site_id, key = front.site()
    broken = next((shared_data / "modules" / "composer-lock" / "broken").glob("*.lock"))
    refused = send(front, site_id, key, str(broken))
    assert (refused.exit_code, "merge conflict" in refused.stderr) == (2, True)
    pm_list = json.dumps(
        {"a": {"package": "Core", "display_name": "A (a)", "status": "Enabled", "version": "10.2.1"}}
    )
    file = tmp_path / "list.json"
    file.write_text(pm_list)
    assert send(front, site_id, "ing_wrong", str(file)).exit_code == 2
    assert send(front, 99999, key, str(file)).exit_code == 2
    assert send(front, 99999, ADMIN, str(file)).exit_code == 1
    enabled = send(front, 99999, ADMIN, "-", text="module:\n  block: 0\n")
    assert (enabled.exit_code, "404" in enabled.stderr) == (1, True)
    many = {
        f"m{n}": {"package": "x", "display_name": f"M (m{n})", "status": "Enabled", "version": "1.0.0"}
        for n in range(20)
    }
    assert send(front, site_id, key, "--drupal-version", "10.2.1", "-", text=json.dumps(many)).exit_code == 0
    held = send(front, site_id, key, str(file))
    assert (held.exit_code, "Held" in held.stderr) == (1, True)


def listed(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "display_name": f"{name} ({name})", "package": "Own", "project": "", "path": f"modules/custom/{name}",
        "status": "Enabled", "version": "2.1.0", **more,
    }  # fmt: skip


def test_odd_entries_are_named_and_the_others_arrive(front: Front) -> None:
    site_id, key = front.site()
    entries = {
        "system": listed(
            "system", project="drupal", package="Core", path="core/modules/system", version="11.3.0-rc1"
        ),
        "torn": listed("torn", display_name="\ud800\x1b[31m (torn)", project="Not A Project"),
        "deutsch": listed("deutsch", status="Aktiviert"),
        "nul": listed("nu\x1bl"),
        "list": [1],
    }
    answer = send(front, site_id, key, "--php-version", "8.4.0RC1", "-", text=json.dumps(entries))
    assert answer.exit_code == 0, answer.stderr
    assert "2 modules; 2 new" in answer.stdout
    assert "3 entries were not mapped" in answer.stderr
    assert "deutsch: its status 'Aktiviert' is neither Enabled nor Disabled" in answer.stderr
    assert "torn: `project` is left out" in answer.stderr
    assert "\x1b" not in answer.stderr
    assert "Unknown module: drupal" not in answer.stderr, "a module of core stands for it"
    with front.client(key) as client:
        assert client.get(f"/sites/{site_id}").json()["drupal_version"] == "11.3.0-rc1"


def test_an_older_snapshot_is_told_and_ends_with_status_1(front: Front, tmp_path: Path) -> None:
    site_id, key = front.site()
    file = tmp_path / "list.json"
    core = listed("system", project="drupal", package="Core", path="core/modules/system", version="11.3.0")
    file.write_text(json.dumps({"system": core}))
    assert send(front, site_id, key, "--at", "2026-02-01", str(file)).exit_code == 0
    older = send(front, site_id, key, "--at", "2026-01-01", str(file))
    assert (older.exit_code, older.stdout) == (1, "")
    assert "A newer snapshot of the site was applied before" in older.stderr
