"""What flows bring to be sent and shown can be used, and what all their senders share does what it says."""

import io
import threading

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ingestion_assets.installed_flows import all_flows, installed, parts
from ingestion_assets.sending.cli import app
from ingestion_assets.sending.demonstration import Demonstration
from ingestion_assets.sending.display import Display, Figures
from ingestion_assets.sending.endings import StoppedError
from ingestion_assets.sending.side_by_side import side_by_side

SENDERS = {one.name: one for flow in all_flows().values() for one in flow.senders}


def test_there_are_senders() -> None:
    assert {"claude", "drupal", "entities", "sample"} <= set(SENDERS)


@pytest.mark.parametrize("name", SENDERS)
def test_a_sender_is_listed_and_says_how_it_is_used(name: str) -> None:
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert SENDERS[name].help in listed.stdout
    used = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert (used.exit_code, SENDERS[name].help.rstrip(".") in used.stdout) == (0, True)


def test_what_is_demonstrated_is_sent_by_commands_that_there_are() -> None:
    shown, faults = parts(installed(), "demonstration", lambda _flow, demonstration: demonstration)
    assert (list(shown), faults) == (["conversations"], [])
    for one in shown.values():
        assert isinstance(one, Demonstration)
        assert {one.make[0], one.send[0], one.again[0]} <= set(SENDERS)
        assert one.payload(1) != one.payload(2)


def test_an_outage_is_said_once_for_all_who_meet_it() -> None:
    written = io.StringIO()
    display = Display(lambda: Figures(0, 0, ""), console=Console(file=written, width=200))
    for _ in range(3):
        display.outage("HTTP 503", 1.0)
    display.outage(None, 0.0)
    assert written.getvalue() == "HTTP 503; trying again in 1.0 s\n"


def test_the_first_that_fails_ends_all_and_results_keep_their_order() -> None:
    stop, entered = threading.Event(), threading.Event()

    def until_stopped() -> None:
        entered.set()
        assert stop.wait(30)

    def fails() -> None:
        assert entered.wait(30)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        side_by_side([until_stopped, fails], concurrency=2, stop=stop, tick=lambda: None)
    assert stop.is_set()
    stop.clear()
    with pytest.raises(StoppedError):
        side_by_side([until_stopped], concurrency=1, stop=stop, tick=stop.set)
    second = threading.Event()

    def one() -> int:
        assert second.wait(30)
        return 1

    def two() -> int:
        second.set()
        return 2

    jobs = [one, two]
    assert side_by_side(jobs, concurrency=2, stop=threading.Event(), tick=lambda: None) == [1, 2]
