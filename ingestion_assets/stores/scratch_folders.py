"""Scratch folders: one for each run, gone when it ends; where its process was killed, when a worker or the next run begins."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingestion_assets.settings import Settings


def scratch_root(settings: Settings, flow: str) -> Path:
    """The folder of all scratch folders of a flow, on this machine."""
    return settings.home / "scratch" / flow


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """An empty folder below `root`, deleted at the end of the block with all that is in it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    delete_left(root)
    with _locked(root):
        own = Path(tempfile.mkdtemp(dir=root))
        lock = _lock(own, fcntl.LOCK_EX)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(lock)


def delete_left(root: Path) -> None:
    """Delete the folders of processes that are no more: nobody holds their locks."""
    if not root.exists():
        return
    left: dict[Path, int] = {}
    with _locked(root):
        for folder in root.iterdir():
            with suppress(BlockingIOError, FileNotFoundError):  # at work, or deleting itself
                left[folder] = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for folder, lock in left.items():
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """No folder below `root` is without the lock of the process that makes it."""
    lock = _lock(root, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, kind: int) -> int:
    """Lock a folder itself, so that what is deleted by half can still be told from what is in use."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, kind)
    except BaseException:
        os.close(lock)
        raise
    return lock
