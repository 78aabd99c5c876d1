"""A headless Chromium, and a stack that has received believable transcripts."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ingestion_assets.samples.transcripts import write_transcripts
from ingestion_assets_tests.browser.dagster_ui import DagsterUI, chromium, dagster_ui
from ingestion_assets_tests.browser.ledger import day_of, wait_until_done
from ingestion_assets_tests.stacks import RunningStack

LINES = 3000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module, not one a session: while it is open, its event loop runs in this thread, and no other may."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def ui(browser: Browser, stack: RunningStack) -> Iterator[DagsterUI]:
    """The Dagster UI of the stack in a fresh page; its screenshots go to `artifacts/screenshots`."""
    with dagster_ui(browser, stack.dagster_url) as opened:
        yield opened


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
