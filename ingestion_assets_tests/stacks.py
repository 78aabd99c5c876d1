"""Running a whole stack, as a user would, for as long as a test needs it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingestion_assets.stack.environment_file import read_environment
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.ready_file import ready_stack
from ingestion_assets.stack.supervision import Supervisor
from ingestion_assets.stores.embedded import free_port
from ingestion_assets.stores.privileges import bound_to_parent

READY_TIMEOUT_S = 180
SHORT_REST: Mapping[str, object] = {"lane_rest_s": 2}
"""For stacks whose tests are not about rests: lanes rest, but nobody waits 20 s for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStack:
    """A stack that is ready."""

    home: Path
    url: str
    """Base address of the front door."""
    dagster_url: str
    admin_token: str
    environment: dict[str, str]
    """What a command needs to work with the stack, `PATH` and the like included."""
    process: subprocess.Popen[bytes]
    seconds_to_ready: float

    def pid_of(self, program: str) -> int:
        """Process id of one program, 0 while it does not run."""
        states = Supervisor(Places(self.home).supervisor_socket).states()
        return next(state.pid for state in states if state.name == program)


def clean_environment(home: Path, **settings: object) -> dict[str, str]:
    """Our environment without any setting of a stack, with those given: `port=8081` for INGESTION_PORT."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("INGESTION_", "DAGSTER_"))
    }
    given = {f"INGESTION_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | given | {"INGESTION_HOME": str(home)}


def launch(
    home: Path, *, python: str = sys.executable, folder: Path | None = None, **settings: object
) -> subprocess.Popen[bytes]:
    """Begin `ingestion up` in `folder`, else in `home`; a killed test run takes it along."""
    home.mkdir(parents=True, exist_ok=True)
    command = (python, "-m", "ingestion_assets.cli", "up", "--quiet")
    with (home / "up.txt").open("wb") as output:
        return subprocess.Popen(
            bound_to_parent(command, signal="TERM"), cwd=folder or home, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, env=clean_environment(home, **settings), start_new_session=True,
        )  # fmt: skip


def until_ready(home: Path, process: subprocess.Popen[bytes]) -> RunningStack:
    """Wait for the stack begun by `launch`."""
    places = Places(home)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (ready := ready_stack(places.ready)) is None or ready["pid"] != process.pid:
        said = (home / "up.txt").read_text(encoding="utf-8")
        assert process.poll() is None, f"ingestion up ended with {process.returncode}:\n{said}"
        assert time.monotonic() < deadline, f"not ready after {READY_TIMEOUT_S} s:\n{said}"
        time.sleep(0.05)
    environment = read_environment(places.environment)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("INGESTION_", "DAGSTER_"))
    }
    return RunningStack(
        home=home, url=ready["addresses"]["front door"], dagster_url=ready["addresses"]["Dagster UI"],
        admin_token=environment["INGESTION_ADMIN_TOKEN"], environment=kept | environment, process=process,
        seconds_to_ready=ready["seconds"],
    )  # fmt: skip


@contextmanager
def running_stack(
    home: Path, *, python: str = sys.executable, folder: Path | None = None, **settings: object
) -> Iterator[RunningStack]:
    """A stack in `home` on free ports, ready, within the block; `python` is the interpreter of the release that it is of."""
    ports = {"port": free_port(), "webserver_port": free_port()}
    process = launch(home, python=python, folder=folder, **ports | settings)
    try:
        yield until_ready(home, process)
    finally:
        process.terminate()
        process.wait(timeout=40)
