"""The Dagster UI as its user drives it: by what is written on it."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

LOCATION = "ingestion_assets"
SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTH, HEIGHT = 1440, 900
expect.set_options(timeout=20_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, headless, within the block; without it the test is skipped."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium: install Debian's package `chromium` to run the tests of the UI")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=SWITCHES)


@contextmanager
def dagster_ui(browser: Browser, address: str) -> "Iterator[DagsterUI]":
    """The UI at `address` in a fresh page; its screenshots go to `artifacts/screenshots`."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(60_000)
    yield DagsterUI(page, address, screenshots=SCREENSHOTS)
    page.close()


class DagsterUI:
    """One page of the UI at `address`."""

    def __init__(self, page: Page, address: str, *, screenshots: Path) -> None:
        self.page = page
        self._address = address
        self._screenshots = screenshots

    def keep(self, name: str) -> None:
        """A screenshot of what is visible, for people."""
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=self._screenshots / f"{name}.png")

    def open_group(self, group: str) -> None:
        """The group's assets as a graph."""
        self.page.goto(f"{self._address}/locations/{LOCATION}/asset-groups/{group}/lineage")
        expect(self.page.get_by_text("Materialize all")).to_be_visible()

    def open_asset(self, key: str, **view: str) -> None:
        """An asset's page; `view="checks", checkDetail="…"` as in the address."""
        query = "&".join(f"{name}={value}" for name, value in view.items())
        self.page.goto(f"{self._address}/assets/{key}?{query}")

    def open_run(self, run_id: str) -> None:
        self.page.goto(f"{self._address}/runs/{run_id}")

    def expect_run(self, status: str) -> None:
        """Wait until a run's page says how the run fares: "Started", "Success", "Canceled"."""
        expect(self.page.get_by_text(status, exact=True).first).to_be_visible()

    def press(self, text: str, *, within: Locator | None = None) -> None:
        """Press the button or link that says exactly `text`."""
        self._control(text, within=within).click()

    def materialize(self, what: str, *, day: str) -> str:
        """Press `what` ("Materialize all…"), choose the day, launch; the id of the run."""
        self.page.get_by_text(what, exact=False).first.click()
        dialog = self.page.get_by_role("dialog")
        chosen = dialog.get_by_role("textbox").first
        chosen.fill(day)
        chosen.press("Enter")
        expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
        self.keep("choosing-a-partition")
        self.press("Launch 1 run", within=dialog)
        expect(self.page.get_by_text("Launched run")).to_be_visible()
        self.press("View")
        self.page.wait_for_url("**/runs/*")
        return self.page.url.rpartition("/")[2].partition("?")[0]

    def execute_check(self, key: str, check: str) -> None:
        """Execute one check from the asset's page."""
        self.open_asset(key, view="checks", checkDetail=check)
        self.press("Execute")

    def expect_check(self, key: str, check: str, *, says: str) -> None:
        """Wait until the check's page says "Passed" or "Failed"."""
        self.open_asset(key, view="checks", checkDetail=check)
        result = self.page.get_by_text("Evaluation result").locator("xpath=..")
        expect(result.get_by_text(says, exact=True)).to_be_visible(timeout=60_000)

    def ask_to_cancel(self) -> None:
        """On the page of a run that has started: Terminate, up to the question whether one is sure."""
        self.expect_run("Started")
        self.press("Terminate")
        expect(self._control("Terminate 1 run")).to_be_visible()

    def cancel(self) -> float:
        """Answer that question with yes and wait until the page shows the run as canceled; when yes was said (seconds
        since 1970).
        """
        said = time.time()
        self.press("Terminate 1 run")
        self.expect_run("Canceled")
        return said

    def _control(self, text: str, *, within: Locator | None = None) -> Locator:
        written = re.compile(rf"^\s*{re.escape(text)}\s*$")
        return (within or self.page).locator("a:visible, button:visible").filter(has_text=written).last
