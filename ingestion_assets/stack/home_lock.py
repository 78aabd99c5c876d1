"""Who runs the stack of a home: one `ingestion up` at a time, known by a lock that the kernel gives back however it ends."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from typing import IO

import psutil

from ingestion_assets.stack.places import Places


class AlreadyRunningError(Exception):
    """Another `ingestion up` runs in this home; the text says which and what to do."""


@contextlib.contextmanager
def locked(places: Places) -> Iterator[None]:
    """Hold the home's lock. Raises `AlreadyRunningError`."""
    with places.lock.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(
                f"a stack already runs in {places.home} ({_holder(lock)}); stop it with `ingestion down`, "
                "or choose another INGESTION_HOME."
            ) from error
        lock.seek(0)
        lock.truncate()
        json.dump({"pid": os.getpid(), "created": psutil.Process().create_time()}, lock)
        lock.flush()
        yield


def _holder(lock: IO[str]) -> str:
    try:
        lock.seek(0)
        return f"process {json.load(lock)['pid']}"
    except (ValueError, KeyError):
        return "starting"


def holder_of(places: Places) -> psutil.Process | None:
    """The `ingestion up` that runs in this home; None if none does."""
    try:
        with places.lock.open("r", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                told = json.load(lock)
                process = psutil.Process(told["pid"])
                return process if abs(process.create_time() - told["created"]) < 1 else None
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        pass
    return None
