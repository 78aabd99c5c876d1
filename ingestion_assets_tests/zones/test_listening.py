"""`ingestion listen`: every payload once when it comes and once when it ends, whatever the front door does meanwhile."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from ingestion_assets.cli import app
from ingestion_assets.sending.front_door_client import answer_of, opened
from ingestion_assets.server import create_app
from ingestion_assets.stores import postgres
from ingestion_assets.zones.arriving import Arriving
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, served, settings_for
from ingestion_assets_tests.frontdoor.instant_runs import InstantRuns
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.conftest import Publish

ASYNC = {"Prefer": "respond-async"}
BURST = 700
"""More than one page."""


@pytest.fixture
def key() -> Iterator[None]:
    with environment(INGESTION_ADMIN_TOKEN=ADMIN_TOKEN):
        yield


def send(client: httpx.Client, count: int) -> set[str]:
    answers = [client.post("/api/v1/drops/till", json=[{"id": str(n)}], headers=ASYNC) for n in range(count)]
    return {one.headers["x-receipt-id"] for one in answers}


def told_until(look: Arriving, done: Callable[[Counter[tuple[str, str]]], bool]) -> Counter[tuple[str, str]]:
    """How often each payload was told of, by its id and state."""
    told: Counter[tuple[str, str]] = Counter()

    def looked() -> bool:
        told.update((one["id"], one["state"]) for one in look.look())
        return done(told)

    wait_until(looked, seconds=20, what="the payloads to be told of")
    return told


def ended(told: Counter[tuple[str, str]]) -> set[str]:
    return {known for known, state in told if state == "done"}


@pytest.mark.usefixtures("key")
def test_of_a_burst_none_is_missed_and_each_end_is_told(front: Front, publish: Publish) -> None:
    publish("till")
    with front.client() as client, opened(front.url) as asking:
        client.post("/api/v1/drops/till", json=[{"id": "before"}])
        look = Arriving(lambda path, parameters: answer_of(asking, "GET", path, parameters), "till")
        front.runs.pause()
        sent = send(client, BURST)
        landed = told_until(look, lambda told: len(told) >= BURST)
        assert {known for known, _ in landed} == sent
        front.runs.resume()
        told = told_until(look, lambda told: len(ended(told)) >= BURST)
    assert ended(told) == sent
    assert set((landed + told).values()) == {1}
    assert not look._open, "what has ended is forgotten"


@pytest.mark.usefixtures("key")
def test_what_is_left_out_is_said(front: Front, publish: Publish) -> None:
    publish("till")
    with front.client() as client, opened(front.url) as asking:

        def ask(path: str, parameters: dict[str, Any]) -> Any:
            return answer_of(asking, "GET", path, parameters)

        look = Arriving(ask, "till", page=5, pages=2, followed=6)
        all_rows = Arriving(ask, "till")
        front.runs.pause()
        sent = send(client, 12)
        told_until(all_rows, lambda told: len(told) == len(sent))
        told = {one["id"] for one in look.look()}
        front.runs.resume()
    assert told == set(sorted(sent)[2:])
    assert (look.passed_over, look.given_up) == (True, 4)


@pytest.mark.usefixtures("key")
def test_a_zone_that_is_not_there_is_refused(front: Front) -> None:
    said = CliRunner().invoke(app, ["listen", "tiil", "--url", front.url, "--for", "0"])
    assert said.exit_code == 1
    assert "There is no zone or flow tiil; there are" in said.output


@contextmanager
def listening(url: str, *, said: list[str]) -> Iterator[Any]:
    """The command as a process, whose lines are gathered in `said`, until it is ended as by Ctrl-C."""
    command = [
        sys.executable,
        "-m",
        "ingestion_assets.cli",
        "listen",
        "conversations",
        "--url",
        url,
        "--json",
    ]
    # Where tests are run in the background, a shell has its children ignore Ctrl-C.
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, heeded)
    lines = child.stdout
    assert lines is not None
    reading = threading.Thread(target=lambda: said.extend(iter(lines.readline, "")))
    reading.start()
    try:
        wait_until(lambda: said or child.poll() is not None, seconds=30, what="the command to begin")
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=20)
        reading.join()


@pytest.mark.usefixtures("key")
def test_a_front_door_that_is_started_anew_does_not_end_it(postgres_url: str, tmp_path: Path) -> None:
    settings = settings_for(home=tmp_path, postgres_url=postgres_url)
    runs = InstantRuns(engine=postgres.engine(postgres_url))
    said: list[str] = []

    def send_one(url: str) -> None:
        with httpx.Client(base_url=url, headers={"X-API-Key": ADMIN_TOKEN}) as client:
            answer = client.post("/api/v1/ingest/batch", json={"messages": [{"type": "user"}]}, timeout=30)
        known = answer.headers["x-receipt-id"]
        wait_until(
            lambda: any(known in line and '"done"' in line for line in said), seconds=20, what=f"{known} in {said}"
        )  # fmt: skip

    with ExitStack() as stack:
        with served(create_app(settings, launch=runs)) as url:
            child = stack.enter_context(listening(url, said=said))
            send_one(url)
        wait_until(lambda: "cannot be asked" in "".join(said), seconds=20, what="it to notice")
        with served(create_app(settings, launch=runs), port=int(url.rpartition(":")[2])) as url:
            send_one(url)
            stack.close()
    assert child.returncode == 0, said
    assert "".join(said).count("cannot be asked") == 1
