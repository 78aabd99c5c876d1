"""A real supervisord that refuses, and one that is stopping already."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_assets.settings import Settings
from ingestion_assets.stack.leftovers import leftovers
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.plan import StackPlan
from ingestion_assets.stack.supervision import Program, Supervisor
from ingestion_assets.stack.up import SupervisedStack
from ingestion_assets_tests.servers import wait_until


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path)
    places.create()
    return places


def _programs(home: Path) -> dict[str, Program]:
    """One that does not hear SIGTERM, one that is not there."""
    commands = {
        "stubborn": ("/bin/sh", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done"),
        "absent": (str(home / "absent"),),
    }
    return {
        name: Program(name=name, group="dagster", command=command, folder=home, stop_s=2)
        for name, command in commands.items()
    }


@pytest.fixture
def stack(places: Places) -> Iterator[SupervisedStack]:
    environment = {"INGESTION_HOME": str(places.home)}
    programs = tuple(_programs(places.home).values())
    stack = SupervisedStack(
        plan=StackPlan(servers=(), programs=programs, urls={}, environment=environment, addresses={}),
        places=places, settings=Settings(home=places.home),  # pyright: ignore[reportCallIssue]
        show=lambda _program, _line: None, stopping=threading.Event(),
    )  # fmt: skip
    stack.launch()
    yield stack
    stack.stop()


def test_it_stops_to_the_end_though_supervisord_is_stopping_already(
    stack: SupervisedStack, places: Places
) -> None:
    """As under systemd, which signals all processes at once."""
    supervisor = Supervisor(places.supervisor_socket)
    wait_until(supervisor.answers, seconds=20, what="supervisord")
    with pytest.raises(RuntimeError, match="NO_FILE"):
        supervisor.start(_programs(places.home)["absent"])
    supervisor.start(_programs(places.home)["stubborn"])
    log = places.logs / "stubborn.log"
    wait_until(lambda: log.exists() and log.read_bytes(), seconds=10, what="the program")

    os.kill(int((places.run / "supervisord.pid").read_text(encoding="ascii")), signal.SIGTERM)
    wait_until(lambda: not supervisor.answers(), seconds=5, what="supervisord to stop")
    assert leftovers(places.home)
    with pytest.raises(ConnectionError):
        supervisor.states()
    stack.stop()
    assert leftovers(places.home) == []
    assert not places.environment.exists()
