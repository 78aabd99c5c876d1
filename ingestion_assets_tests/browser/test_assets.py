"""What a person sees who opens the UI after transcripts were received."""

import httpx
from playwright.sync_api import expect

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.stacks import RunningStack

WAYS_IN = ("front_door", "inbox")
ASSETS = ("raw_batches", "messages", "todos", "configs", "sessions", "projects", "ingestion_log")


def test_graph_of_the_group(ui: DagsterUI, received_day: str) -> None:  # noqa: ARG001
    ui.page.set_viewport_size({"width": 1920, "height": 860})
    ui.open_group("conversations")
    for name in (*WAYS_IN, *ASSETS):
        expect(ui.page.get_by_text(name, exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("Failed")).to_have_count(0)
    ui.keep("asset-graph")


def test_materialization_with_its_metadata(ui: DagsterUI, received_day: str) -> None:
    ui.open_asset("conversations/messages", view="events")
    expect(ui.page.get_by_text("materialized in run")).to_be_visible()
    expect(ui.page.get_by_text(received_day).first).to_be_visible()
    for key in ("received", "new", "duplicate", "rejected"):
        expect(ui.page.get_by_text(key, exact=True).first).to_be_visible()
    ui.keep("materialization")
    ui.open_asset("conversations/raw_batches", view="events")
    expect(ui.page.get_by_text("seconds_waited_p95", exact=True)).to_be_visible()
    ui.keep("claim")


def test_asset_page_says_what_it_is(ui: DagsterUI, received_day: str) -> None:  # noqa: ARG001
    ui.open_asset("conversations/messages", view="overview")
    for text in ("Every message once", "Columns", "contentHash", "MongoDB"):
        expect(ui.page.get_by_text(text).first).to_be_visible()
    ui.keep("asset")


def test_receipt_leads_to_its_run_and_the_run_to_its_assets(
    ui: DagsterUI, stack: RunningStack, received_day: str
) -> None:
    headers = {"X-API-Key": stack.admin_token}
    listed = httpx.get(f"{stack.url}/api/v1/receipts", params={"limit": 1}, headers=headers).json()
    receipt = listed["items"][0]
    assert receipt["partition"] == received_day
    ui.page.goto(receipt["run_url"])
    expect(ui.page.get_by_text(receipt["run_id"][:8]).first).to_be_visible()
    expect(ui.page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("RUN_SUCCESS").first).to_be_visible()
    ui.keep("run")
    ui.press("View Asset")
    expect(ui.page.get_by_text("Latest materialization").first).to_be_visible()
