"""Files of real sites become modules; what cannot be mapped is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.modules.inventories import InventoryError, combine, read_inventory
from ingestion_assets.modules.schema import MAX_MODULES, ModuleInfo, decode_request
from ingestion_assets.modules.sending import Outgoing, outgoing, read_files

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


def sent(*files: Any, **more: Any) -> tuple[Outgoing, dict[str, dict[str, Any]]]:
    """What is sent for files; the front door's own check has let it in."""
    request = outgoing(read_files([("file", json.dumps(one)) for one in files]), **more)
    decode_request(json.dumps(request.body, ensure_ascii=False).encode("utf-8", "replace"))
    return request, {one["machine_name"]: one for one in request.body["modules"]}


def lock(*packages: Any, core: str = "11.2.3", **more: Any) -> dict[str, Any]:
    of_core = {"name": "drupal/core", "type": "drupal-core", "version": core}
    return {"packages": [of_core, package("pathauto", "1.13.0"), *packages], **more}


def package(name: str, version: Any, **more: Any) -> dict[str, Any]:
    return {"name": f"drupal/{name}", "type": "drupal-module", "version": version, **more}


def listed(name: str = "shop", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "display_name": f"Shop ({name})", "package": "Shop", "project": "", "type": "module",
        "path": f"modules/custom/{name}", "status": "Enabled", "version": "1.4.2", **more,
    }  # fmt: skip


CORE = {
    "system": listed("system", package="Core", project="drupal", path="core/modules/system", version="11.2.3")
}


def test_a_package_whose_name_is_no_projects_is_sent_without_project() -> None:
    request, modules = sent(lock(package("paragraphs-blokkli", "2.0.1")))
    assert "project" not in modules["paragraphs-blokkli"]
    assert modules["pathauto"]["project"] == "pathauto"
    assert any("paragraphs-blokkli: `project` is left out" in one for one in request.notes)


def test_a_long_branch_is_sent_whole() -> None:
    branch = "dev-" + "feature/long-" * 12
    _, modules = sent(lock(package("search_api", branch)))
    assert modules["search_api"]["version"] == branch
    request, modules = sent(lock(package("search_api", "dev-" + "x" * 300)))
    assert modules.keys() == {"pathauto"}
    assert [one.name for one in request.unmapped] == ["drupal/search_api"]


def test_texts_of_a_list_are_cut_and_a_project_of_ones_own_is_left_out() -> None:
    odd = listed(display_name="ü" * 400 + " (shop)", package="p\0" * 200, project="Our Shop")
    request, modules = sent(CORE | {"shop": odd, "ill": listed("ill", display_name="\ud800 (ill)")})
    assert modules["shop"]["name"] == "ü" * 255
    assert modules["shop"]["package"] == "p" * 200
    assert ("project" in modules["shop"], modules["ill"]["name"]) == (False, "?")
    assert len([one for one in request.notes if one.startswith("shop: ")]) == 3


def test_a_foreign_project_does_not_make_a_module_one_of_drupal_orgs() -> None:
    _, modules = sent(CORE | {"token": listed("token", project="Acme Corp", path="modules/token")})
    assert ModuleInfo.model_validate(modules["token"]).drupal_project() == ""


@pytest.mark.parametrize("status", ["Aktiviert", "Activé", "有効", "", None, 1, ["Enabled"]])
def test_a_status_of_another_language_is_unmapped(status: Any) -> None:
    request, modules = sent(CORE | {"shop": listed(status=status)})
    assert modules.keys() == {"system"}
    assert "neither Enabled nor Disabled" in request.unmapped[0].reason


def test_a_list_of_another_language_is_refused_with_the_reason() -> None:
    with pytest.raises(InventoryError, match=r"no module in it.*shop.*'Aktiviert' is neither"):
        sent({"shop": listed(status="Aktiviert")}, drupal_version="11.2.3")


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (listed("m" * 256), "m" * 256), (listed("two words"), "two words"), (listed(version="N/A"), "shop"),
        (listed(version=None), "shop"), (listed(version=["1.0"]), "shop"), ("text", "shop"), (None, "shop"), (7, "shop"),
        (listed("system"), "system"), (listed("\ud800"), "\ud800"),
    ],
)  # fmt: skip
def test_what_can_be_no_module_is_named_and_the_others_are_sent(entry: Any, name: str) -> None:
    request, modules = sent(CORE | {"shop": entry, "token": listed("token")})
    assert modules.keys() == {"system", "token"}
    assert [one.name for one in request.unmapped] == [name]


@pytest.mark.parametrize(
    "odd", [None, "x", 3, {"name": 7, "type": "drupal-module"}, package("", "1.0.0"), package("a b", "1.0.0")]
)
def test_an_odd_package_is_named_and_the_others_are_sent(odd: Any) -> None:
    request, modules = sent(lock(odd, package("token", "1.15.0")))
    assert (modules.keys(), len(request.unmapped)) == ({"pathauto", "token"}, 1)


def test_odd_fields_of_a_package_are_left_out() -> None:
    drupal = {"version": 8, "datestamp": "9" * 5000, "security-coverage": "covered"}
    request, modules = sent(
        lock(package("token", "1.15.0", extra={"drupal": drupal}, description="d" * 30_000))
    )
    assert (modules["token"]["version"], len(modules["token"]["description"])) == ("1.15.0", 20_000)
    assert "datestamp" not in modules["token"]
    assert len(request.notes) == 4


def test_modules_beyond_what_a_sync_takes_are_named() -> None:
    many = {f"m{number}": listed(f"m{number}") for number in range(MAX_MODULES + 3)}
    request, modules = sent(many, drupal_version="11.2.3")
    assert (len(modules), len(request.unmapped)) == (MAX_MODULES, 3)


def test_a_request_is_sent_without_its_odd_modules() -> None:
    good = {
        "machine_name": "token",
        "name": "Token",
        "type": "contrib",
        "version": "8.x-1.15",
        "status": True,
    }
    words = ["ok", 3, "w" * 300]
    odd = [
        good,
        good | {"machine_name": "b", "dependencies": words, "schema_version": 2**40},
        good,
        {"name": "x"},
        3,
    ]
    body = {"modules": odd, "drupal_version": "11.2.3", "php_version": "8.3.0", "site_info": {}}
    request, modules = sent(body)
    assert modules["token"] == good
    assert (modules["b"]["dependencies"], "schema_version" in modules["b"]) == (["ok", "w" * 255], False)
    assert len(request.unmapped) == 3
    extension = read_inventory("module:\n  token: 0\n")
    assert [one["status"] for one in combine(read_inventory(json.dumps(body)), extension).modules] == [
        True,
        False,
    ]


@pytest.mark.parametrize("core", ["11.4.0-rc1", "11.x-dev", "11.3.0-beta.2", "dev-main", "10.2.3"])
def test_core_is_sent_as_what_it_is(core: str) -> None:
    assert sent(lock(core=core))[0].body["drupal_version"] == core
    system = {"system": CORE["system"] | {"version": core}}
    assert sent(system)[0].body["drupal_version"] == core
    status = {"drupal-version": core, "php-version": "8.4.1", "uri": "default"}
    body = sent({"token": listed("token")}, status)[0].body
    assert (body["drupal_version"], body["php_version"]) == (core, "8.4.1")


def test_what_says_no_version_of_drupal_is_refused_with_what_to_do() -> None:
    for core in ("dev-a b", "8.x-1.0", ""):
        with pytest.raises(InventoryError, match="--drupal-version"):
            sent(lock(core=core))
        assert sent(lock(core=core), drupal_version="11.2.3")[0].unmapped[0].name == "drupal/core"
    with pytest.raises(InventoryError, match="names no modules"):
        sent({"drupal-version": "11.2.3"})


@pytest.mark.parametrize(
    ("php", "version"),
    [("8.1", "8.1.0"), ("8.3.99", "8.3.99"), ("8.4.0RC1", "8.4.0RC1"), (">=8.1", "0.0.0"), (8, "0.0.0")],
)
def test_php_of_composers_platform(php: Any, version: str) -> None:
    request, _ = sent(lock(**{"platform-overrides": {"php": php}}))
    assert request.body["php_version"] == version
    assert any("0.0.0" in one for one in request.notes) == (version == "0.0.0")


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
LISTED = ("name", "display_name", "package", "project", "path", "status", "version", "type")
LOCKED = ("name", "type", "version", "extra", "description")
REQUESTED = ("machine_name", "name", "type", "version", "status", "schema_version", "package", "dependencies", "description",
             "project_link", "project", "datestamp", "security_coverage", "core_compatibility")  # fmt: skip


def oddities(good: dict[str, Any], fields: tuple[str, ...]) -> st.SearchStrategy[Any]:
    changes = st.dictionaries(st.sampled_from(fields), values, max_size=4)
    return st.lists(changes.map(lambda changed: good | changed) | values, max_size=4)


@given(
    oddities(listed(), LISTED), oddities(package("token", "1.0.0"), LOCKED),
    oddities({"machine_name": "a", "name": "A", "type": "contrib", "version": "1.0", "status": True}, REQUESTED),
)  # fmt: skip
def test_whatever_an_entry_holds_the_others_are_sent(
    in_list: list[Any], in_lock: list[Any], in_request: list[Any]
) -> None:
    _, modules = sent(CORE | {f"odd{number}": one for number, one in enumerate(in_list)})
    assert "system" in modules
    _, modules = sent(lock(*in_lock))
    assert "pathauto" in modules
    good = {"machine_name": "good", "name": "Good", "type": "custom", "version": "1.0", "status": True}
    _, modules = sent({"modules": [good, *in_request], "drupal_version": "11.2.3", "php_version": "8.3.0"})
    assert modules["good"] == good
