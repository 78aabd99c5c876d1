"""A fault planted behind the system's back turns a check red; a rebuild of the day repairs it."""

from playwright.sync_api import expect
from pymongo import MongoClient

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.browser.ledger import wait_until_ended
from ingestion_assets_tests.browser.tables import differences, stored
from ingestion_assets_tests.stacks import RunningStack

MESSAGES = "conversations/messages"
CHECK = "stored_once"


def test_lost_message_turns_a_check_red_until_its_day_is_rebuilt(
    ui: DagsterUI, stack: RunningStack, received_day: str
) -> None:
    whole = stored(stack)
    with MongoClient(stack.environment["INGESTION_MONGODB_URL"]) as client:
        messages = client["ingestion"]["messages"]
        lost = messages.find_one_and_delete({"type": "assistant"})
    assert lost is not None

    ui.execute_check(MESSAGES, CHECK)
    ui.expect_check(MESSAGES, CHECK, says="Failed")
    expect(ui.page.get_by_text(f"Materialize {received_day}", exact=False)).to_be_visible()
    ui.keep("failed-check")
    ui.open_group("conversations")
    ui.keep("failed-check-in-graph")

    run = ui.materialize("Materialize all", day=received_day)
    assert wait_until_ended(stack, run) == "SUCCESS"
    ui.expect_check(MESSAGES, CHECK, says="Passed")
    ui.keep("repaired-check")
    assert differences(whole, stored(stack)) == []
