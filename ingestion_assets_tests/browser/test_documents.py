"""The documents flow in the UI: its graph, what a slice says of its failures, a day that is done again, a check that finds an orphan."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import expect

from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.browser.ledger import ask, day_of, wait_until_done, wait_until_ended
from ingestion_assets_tests.documents.job_front import text_files
from ingestion_assets_tests.documents.test_checks import plant
from ingestion_assets_tests.stacks import RunningStack

USER = "reader"
ASSETS = ("selections", "files", "chunks", "embeddings", "ingestion_log")
STORED = """
    SELECT document.path, content.id, chunk.number, chunk.text, vector.embedding::text FROM documents.documents document
    JOIN documents.contents content ON content.id = document.content_id JOIN documents.chunks chunk ON chunk.content_id = content.id
    JOIN documents.vectors vector ON vector.text_digest = chunk.text_digest AND vector.model = content.model ORDER BY 1, 3
"""
STATES = "SELECT job_id, path, status, attempts, error_code, ended_at FROM documents.files ORDER BY 1, 2"


@pytest.fixture(scope="module")
def read_day(stack: RunningStack) -> str:
    """The day on which the stack read three files and failed at a fourth."""
    folder = text_files(stack.home.parent / "reports" / "shown", 3)
    (folder / "empty.txt").touch()
    headers = {"X-API-Key": stack.admin_token}
    with httpx.Client(base_url=f"{stack.url}/batch", headers=headers, timeout=60) as client:

        def said(path: str, **body: Any) -> dict[str, Any]:
            return (
                client.post(path, json={"user_id": USER, "name": "Shown", **body}).raise_for_status().json()
            )

        source = {"source_type": "local_directory"}
        connection = said("/connections", **source, config={"path": str(folder)})["connection_id"]
        said(
            "/jobs", start=True, file_selections=[{**source, "connection_id": connection, "file_ids": ["*"]}]
        )
    wait_until_done(stack)
    return day_of(stack)


def test_a_slice_says_which_files_failed(ui: DagsterUI, read_day: str) -> None:
    ui.open_group("documents")
    for name in ASSETS:
        expect(ui.page.get_by_text(name, exact=True).first).to_be_visible()
    ui.keep("documents-graph")
    ui.open_asset("documents/files", view="events")
    expect(ui.page.get_by_text(read_day).first).to_be_visible()
    expect(ui.page.get_by_text("failures", exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("empty_file").first).to_be_visible()
    ui.keep("documents-failures")


@pytest.mark.usefixtures("read_day")
def test_the_page_shows_jobs_with_what_went_wrong(ui: DagsterUI, stack: RunningStack) -> None:
    ui.page.goto(f"{stack.url}/documents")
    ui.page.get_by_label("User").fill(USER)
    ui.page.get_by_label("API key").fill(stack.admin_token)
    ui.press("Show")
    ui.page.get_by_role("button", name="Shown").first.click()
    expect(ui.page.locator("#files tr").filter(has_text="empty.txt")).to_contain_text("empty_file (parsing)")
    ui.keep("documents-page")
    ui.page.get_by_label("User").fill("somebody")
    ui.press("Show")  # with the key that was given before
    expect(ui.page.get_by_text("There are none yet.")).to_be_visible()
    ui.page.get_by_label("User").fill(USER)
    ui.press("Show")
    expect(ui.page.get_by_role("button", name="Shown").first).to_be_visible()


def test_a_day_that_is_done_again_changes_nothing(ui: DagsterUI, stack: RunningStack, read_day: str) -> None:
    before = ask(stack, STORED), ask(stack, STATES)
    ui.open_group("documents")
    run = ui.materialize("Materialize all", day=read_day)
    assert wait_until_ended(stack, run) == "SUCCESS"
    assert (ask(stack, STORED), ask(stack, STATES)) == before


@pytest.mark.usefixtures("read_day")
def test_a_planted_orphan_turns_a_check_red(ui: DagsterUI, stack: RunningStack) -> None:
    with _orphan(stack.environment["INGESTION_POSTGRES_URL"]):
        ui.execute_check("documents/chunks", "no_orphans")
        ui.expect_check("documents/chunks", "no_orphans", says="Failed")
        ui.keep("documents-orphan")
    ui.execute_check("documents/chunks", "no_orphans")
    ui.expect_check("documents/chunks", "no_orphans", says="Passed")


@contextmanager
def _orphan(url: str) -> Iterator[None]:
    """A content of no document within the block, locked: the front door removes such ones, but none that somebody holds."""
    with psycopg.connect(url) as connection:
        while (
            connection.execute("SELECT FROM documents.contents WHERE user_id = 'u' FOR UPDATE").rowcount == 0
        ):
            connection.rollback()
            plant(url)
        yield
        connection.execute("DELETE FROM documents.contents WHERE user_id = 'u'")
