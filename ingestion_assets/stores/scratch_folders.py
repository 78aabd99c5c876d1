"""Scratch folders: one for each run, gone when it ends; where its process was killed, when a worker or the next run begins."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingestion_assets.settings import Settings

_LOCK = "lock"


def scratch_root(settings: Settings, flow: str) -> Path:
    """The folder of all scratch folders of a flow, on this machine."""
    return settings.home / "scratch" / flow


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """An empty folder below `root`, deleted at the end of the block with all that is in it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    delete_left(root)
    own = Path(tempfile.mkdtemp(dir=root))
    lock = os.open(own / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        work = own / "work"
        work.mkdir()
        yield work
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(lock)


def delete_left(root: Path) -> None:
    """Delete the folders of processes that are no more: nobody holds their locks."""
    if not root.exists():
        return
    for folder in root.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # just being made, or deleted
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
