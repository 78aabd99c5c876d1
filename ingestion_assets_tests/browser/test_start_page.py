"""The page at `/` of a stack that has received something: what came of it, for who has a key."""

from playwright.sync_api import expect

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.stacks import RunningStack


def test_the_page_shows_flows_and_what_became_of_payloads(
    ui: DagsterUI, stack: RunningStack, received_day: str
) -> None:
    assert received_day
    ui.page.set_viewport_size({"width": 1280, "height": 950})
    ui.page.goto(stack.url)
    card = ui.page.get_by_role("region", name="conversations")
    expect(card).to_contain_text("in the last hour")
    ui.page.get_by_label("API key").fill(stack.admin_token)
    ui.page.get_by_role("button", name="Show").click()
    expect(ui.page.locator("#receipts tr").filter(has_text="conversations").first).to_contain_text("done")
    ui.keep("overview")
