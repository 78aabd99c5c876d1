"""A headless Chromium, and a stack that has received believable transcripts."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from ingestion_assets.samples.transcripts import write_transcripts
from ingestion_assets_tests.browser.dagster_ui import DagsterUI
from ingestion_assets_tests.browser.ledger import day_of, wait_until_done
from ingestion_assets_tests.stacks import RunningStack

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LINES = 3000
WIDTH, HEIGHT = 1440, 900


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module, not one a session: while it is open, its event loop runs in this thread, and no other may."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: install Debian's package `chromium` to run the tests of the UI")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=SWITCHES)


@pytest.fixture
def ui(browser: Browser, stack: RunningStack) -> Iterator[DagsterUI]:
    """The Dagster UI of the stack in a fresh page; its screenshots go to `artifacts/screenshots`."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(60_000)
    yield DagsterUI(page, stack.dagster_url, screenshots=SCREENSHOTS)
    page.close()


def send(stack: RunningStack, folder: Path, *options: str) -> "subprocess.Popen[str]":
    """Begin `ingestion send claude` of a folder."""
    command = (sys.executable, "-m", "ingestion_assets.cli", "send", "claude", *options, str(folder))
    return subprocess.Popen(
        command, env=stack.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ingestion(stack: RunningStack, *arguments: str) -> str:
    """What a command prints, in lines wide enough for tables."""
    command = (sys.executable, "-m", "ingestion_assets.cli", *arguments)
    environment = stack.environment | {"COLUMNS": "300"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture(scope="session")
def received_day(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The day (YYYY-MM-DD) on which the stack received 20 sessions of at least `LINES` lines, all processed."""
    folder = tmp_path_factory.mktemp("transcripts")
    write_transcripts(folder, sessions=20, lines=LINES, seed=8)
    sender = send(stack, folder / "projects")
    said, _ = sender.communicate(timeout=120)
    assert sender.returncode == 0, said
    wait_until_done(stack)
    return day_of(stack)
