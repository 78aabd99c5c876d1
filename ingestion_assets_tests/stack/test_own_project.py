"""`ingestion up` in the folder of a user's own project: its code runs beside ours, and changes while the stack runs."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ingestion_assets.stack.places import Places
from ingestion_assets.stack.supervision import Supervisor
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stack.conftest import PASSWORD
from ingestion_assets_tests.stack.shop_project import SENSOR, Shop, command_of, description, launch, status
from ingestion_assets_tests.stacks import RunningStack, clean_environment

pytestmark = pytest.mark.slow
LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"


@pytest.fixture(scope="module")
def stack(guarded: RunningStack) -> RunningStack:
    """The one of the project, with the password in the address of Dagster's UI."""
    return replace(guarded, dagster_url=guarded.dagster_url.replace("://", f"://any:{PASSWORD}@"))


def _ended(stack: RunningStack, run: str) -> str:
    ended = {"SUCCESS", "FAILURE", "CANCELED"}
    wait_until(lambda: status(stack, run) in ended, seconds=90, what="the run to end")
    return status(stack, run)


def _status(stack: RunningStack) -> str:
    command = (sys.executable, "-m", "ingestion_assets.cli", "status")
    return subprocess.run(
        command, env=clean_environment(stack.home), capture_output=True, text=True, check=False
    ).stdout


def test_plain_jobs_run_as_dagster_runs_them(stack: RunningStack, shop: Shop) -> None:
    assert _ended(stack, launch(stack, "plain")) == "SUCCESS"
    assert [word for word, _ in shop.said("orders")] == ["old"]


@pytest.mark.parametrize("job", ["within_workers", "for_workers"])
def test_jobs_for_a_queue_run_in_its_workers_with_whatever_executor(
    stack: RunningStack, shop: Shop, job: str
) -> None:
    before = len(shop.said("warm"))
    assert _ended(stack, launch(stack, job)) == "SUCCESS"
    ((word, process),) = shop.said("warm")[before:]
    assert word == "old"
    if job == "within_workers":
        assert "ingestion_assets.orchestration.worker" in command_of(int(process))


def test_no_run_uses_older_code_than_its_location_has(stack: RunningStack, shop: Shop) -> None:
    for word in ("newer", "newest") if LONG else ("newest",):
        shop.write("words.py", f'WORD = "{word}"\n')
        wait_until(
            lambda word=word: description(stack, "within_workers") == word,
            seconds=60, what="the location to be loaded again",
        )  # fmt: skip
        for job in ("within_workers", "for_workers", "plain"):
            assert _ended(stack, launch(stack, job)) == "SUCCESS"
        assert [said for said, _ in shop.said("warm")[-2:]] == [word, word]
        assert shop.said("orders")[-1][0] == word


def test_code_that_cannot_be_loaded_leaves_the_one_before_at_work(stack: RunningStack, shop: Shop) -> None:
    shop.write("words.py", "WORD = \n")
    wait_until(lambda: "cannot be loaded" in _status(stack), seconds=60, what="the status to tell")
    assert "code location shop: its changed files cannot be loaded" in _status(stack)
    assert "SyntaxError" in _status(stack)
    assert "cannot be loaded" in (stack.home / "logs" / "code-watch.log").read_text(encoding="utf-8")
    assert description(stack, "within_workers") == "newest"
    assert _ended(stack, launch(stack, "within_workers")) == "SUCCESS"
    assert shop.said("warm")[-1][0] == "newest"
    shop.write("words.py", 'WORD = "mended"\n')
    wait_until(lambda: description(stack, "within_workers") == "mended", seconds=60, what="the mended code")
    assert "code location" not in _status(stack)
    assert _ended(stack, launch(stack, "within_workers")) == "SUCCESS"
    assert shop.said("warm")[-1][0] == "mended"


@pytest.mark.usefixtures("stack")
def test_a_new_sensor_ticks_within_20_seconds_of_being_saved(shop: Shop) -> None:
    began = time.monotonic()
    definitions = (shop.folder / "shop" / "definitions.py").read_text(encoding="utf-8")
    shop.write("definitions.py", definitions + SENSOR)
    wait_until(lambda: shop.said("ticked"), seconds=60, what="the sensor to tick")
    took = time.monotonic() - began
    print(f"from saving to the tick: {took:.1f} s")
    assert took < 20


def test_nothing_of_the_project_is_started_again(stack: RunningStack) -> None:
    states = {one.name: one for one in Supervisor(Places(stack.home).supervisor_socket).states()}
    assert {"code-server-shop", "code-watch"} <= states.keys()
    assert all(one.state == "RUNNING" for one in states.values())
