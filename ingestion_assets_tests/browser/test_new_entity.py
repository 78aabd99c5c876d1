"""A definition file put into a running stack shows in the UI as an asset, with its columns and its materialization."""

import shutil

from playwright.sync_api import expect

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.entities.definitions import WORKSHOP_FOLDER
from ingestion_assets_tests.entities.own_definitions import SITE, assets, definitions_folder, send
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack


def test_new_entity_is_an_asset_in_the_ui(ui: DagsterUI, stack: RunningStack) -> None:
    with definitions_folder(stack) as folder:
        shutil.copy(WORKSHOP_FOLDER / "site.yaml", folder)
        wait_until(lambda: "site" in assets(stack), seconds=60, what="the asset")
        assert send(stack, SITE % 1).status_code == 200
        ui.open_group("entities")
        expect(ui.page.get_by_text("site", exact=True).first).to_be_visible()
        ui.keep("new-entity-graph")
        ui.open_asset("entities/site", view="overview")
        for text in ("turnover", "numeric(9,3)", "entities.sites", "Latest materialization"):
            expect(ui.page.get_by_text(text).first).to_be_visible()
        ui.keep("new-entity")
