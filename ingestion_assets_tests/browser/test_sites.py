"""A site is found by its name: Dagster's partition is its number, and what is known of the partition says whose it is."""

import httpx
from playwright.sync_api import expect

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.modules.replay import body, module
from ingestion_assets_tests.stacks import RunningStack


def test_the_partition_of_a_site_says_its_name(ui: DagsterUI, stack: RunningStack) -> None:
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers={"X-API-Key": stack.admin_token}) as client:
        site = client.post("/sites", json={"name": "Town Hall"}).raise_for_status().json()["id"]
        syncs = f"/sites/{site}/modules/sync"
        modules = body([module(f"m{number}") for number in range(12)])
        answer = client.post(syncs, json=modules, headers={"Prefer": "wait=50"}, timeout=60)
        assert answer.status_code == 200, answer.text
    ui.open_asset("modules/module_inventory", view="partitions", partition=str(site))
    expect(ui.page.get_by_text(f"{site}: Town Hall", exact=True)).to_be_visible()
    ui.keep("site")
