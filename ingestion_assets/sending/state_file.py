"""What senders remember from one start to the next: one SQLite file, in which each kind of sender has tables of its own.

Everything in it is kept per front door (`target`), so that one file serves several.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from ingestion_assets.sending.endings import StateFileError
from ingestion_assets.sending.files import shown, unusable

BUSY_S = 30.0


class StateFile:
    """The file, with the tables of `schema`. Safe to use from several threads. All raise `StateFileError`.

    `alone`: held by one sender at a time, until `close()`, who may lose its last words with the power, as it then sends them again; else
    senders take turns, a transaction each, and what they wrote is on disk.
    """

    def __init__(self, path: Path, *, schema: str, alone: bool) -> None:
        self._path = path
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held = _hold(path.with_name(path.name + ".lock"), state=path) if alone else None
        except OSError as error:
            raise StateFileError(unusable(path, error)) from error
        try:
            with self._errors_told():
                self._db = sqlite3.connect(
                    path, check_same_thread=False, isolation_level=None, timeout=BUSY_S
                )
                self._db.execute("pragma journal_mode = wal")
                self._db.execute(f"pragma synchronous = {'normal' if alone else 'full'}")
                self._db.executescript(schema)
        except StateFileError:
            self._let_go()
            raise

    def close(self) -> None:
        with self._guard:
            with contextlib.suppress(sqlite3.Error):  # what is committed lies in the log, whole
                self._db.close()
            self._let_go()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._guard, self._errors_told():
            yield self._db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: what could not be kept was not acknowledged, and is sent again under the same key."""
        with self.reading() as db:
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()

    @contextlib.contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise StateFileError(unusable(self._path, error)) from error


def _hold(path: Path, *, state: Path):
    handle = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise StateFileError(
            f"another sender (process {owner}) is using the state file {shown(state)}; "
            "wait until it ends, or give this one a state file of its own with --state"
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(handle.fileno(), 0)
        os.write(handle.fileno(), str(os.getpid()).encode())
    return handle
