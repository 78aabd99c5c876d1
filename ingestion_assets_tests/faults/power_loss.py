"""Losing power again and again: from one recording of a server, the disk at many instants, and what is found on it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion_assets.stores.embedded import free_port
from ingestion_assets_tests.faults.disk import Disk, Model, instants
from ingestion_assets_tests.faults.promises import Promise, broken, write_for_a_while
from ingestion_assets_tests.faults.recording import Kind, Recording, recording, started
from ingestion_assets_tests.servers import start, stop, wait_until

_PREPARE = """
from pathlib import Path
from ingestion_assets.stores.embedded import {server}
{server}(folder=Path({folder!r}), port={port}).prepare()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A folder as it may be found after the power failed, and the notes made before."""

    number: int
    folder: Path
    notes: Sequence[Any]


def losses(recorded: Recording, folder: Path, *, count: int, seed: int, model: Model) -> Iterator[Loss]:
    """The disk at `count` random instants, one after the other; each folder lives until the next is asked for."""
    rng = random.Random(seed)
    records = list(recorded.records())
    disk = Disk(recorded, model=model)
    notes: list[Any] = []
    replayed = 0
    for number, instant in enumerate(instants(records, count, rng)):
        for one in records[replayed:instant]:
            disk.replay(one)
            if one.kind == Kind.NOTE:
                notes.append(json.loads(one.rest))
        replayed = instant
        target = folder / "found"
        disk.lose_power(target, rng)
        try:
            yield Loss(number=number, folder=target, notes=notes)
        finally:
            shutil.rmtree(target)


@contextmanager
def recorded_store(promise: Promise, folder: Path, *, seed: int, seconds: float) -> Iterator[Recording]:
    """A recording of a store from its first start on, which was written to for some seconds; from its initialisation on, where
    what does that can be recorded."""
    home, port = folder / "server", free_port()
    home.mkdir()
    if not promise.initialised_by_python:
        promise.server(folder=home, port=port).prepare()
    with recording(home, folder / "recording") as recorded:
        if promise.initialised_by_python:
            prepare = _PREPARE.format(server=promise.server.__name__, folder=str(home), port=port)
            environment = os.environ | recorded.environment
            subprocess.run((sys.executable, "-c", prepare), check=True, cwd=folder, env=environment)
        server = promise.server(folder=home, port=port)
        server.prepare()  # of what is there already: it opens the folder to the server's user
        process = started(
            server.command, folder=server.folder, environment=dict(server.environment) | recorded.environment,
            output=folder / "recorded.txt",
        )  # fmt: skip
        try:
            wait_until(server.is_ready, seconds=60, what=f"{server.name} to answer")
            write_for_a_while(promise, server.url, recorded.note, seed=seed, seconds=seconds)
        finally:
            stop(server, process)
        yield recorded


def broken_promises(
    promise: Promise, recorded: Recording, folder: Path, *, count: int, seed: int, model: Model
) -> list[str]:
    """What the store breaks of its promises, started on what is found after each of `count` losses."""
    said: list[str] = []
    for loss in losses(recorded, folder, count=count, seed=seed, model=model):
        server = promise.server(folder=loss.folder, port=free_port())
        try:
            process = start(server)
        except AssertionError as error:
            said.append(f"loss {loss.number}: {error}")
            continue
        try:
            said += [f"loss {loss.number}: {one}" for one in broken(promise, server.url, loss.notes)]
        except Exception as error:
            said.append(f"loss {loss.number}: {error!r}")
        finally:
            process.send_signal(signal.SIGINT if server.stop_signal == "INT" else signal.SIGKILL)
            process.wait(timeout=30)
    return said
