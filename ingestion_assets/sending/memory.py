"""What was sent: how far each file was acknowledged, and the receipts whose outcome is not known yet.

A SQLite file, held by one sender at a time. Everything is kept per front door (`target`), so that one file
serves several. Files are recognised by device and inode, or by path, and always by the fingerprints of what
was sent.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ingestion_assets.sending.slices import Mark, still_the_same

_SCHEMA = """
create table if not exists files (
  target text not null, device text not null, inode text not null, path text not null,
  next_offset integer not null, next_line integer not null,
  head_bytes integer not null, head text not null, tail_bytes integer not null, tail text not null,
  primary key (target, device, inode));
create index if not exists files_by_path on files (target, path);
create table if not exists documents (
  target text not null, path text not null, digest text not null, primary key (target, path));
create table if not exists receipts (
  target text not null, id text not null, path text not null, places text not null, replayed integer not null,
  primary key (target, id, path));
"""


class HeldByAnotherError(Exception):
    """Another sender uses this state file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReceipt:
    """An accepted request whose outcome is not known yet; `places` are line and offset of its records in
    order.
    """

    id: str
    path: str
    places: list[tuple[int, int]]
    replayed: bool


class Memory:
    """The state file. Safe to use from several threads; `close()` gives it to the next sender."""

    def __init__(self, *, path: Path, target: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._guard = threading.Lock()
        self._lock_file = _hold(path.with_name(path.name + ".lock"), state=path)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._guard:
            self._db.close()
            self._lock_file.close()

    def forget(self) -> None:
        """Forget all that was sent to this front door."""
        with self._guard:
            for table in ("files", "documents", "receipts"):
                self._db.execute(f"delete from {table} where target = ?", (self._target,))

    def mark_of(self, file: BinaryIO, *, path: Path) -> Mark:
        """Where to go on reading the open file: at its start when it is new, shorter, or rewritten."""
        device, inode = _identity(file)
        with self._guard:
            rows = self._db.execute(
                "select next_offset, next_line, head_bytes, head, tail_bytes, tail, device, inode from files "
                "where target = ? and ((device = ? and inode = ?) or path = ?) "
                "order by next_offset desc",  # an inode may be used again: what matches furthest counts
                (self._target, device, inode, str(path)),
            ).fetchall()
        for row in rows:
            mark = Mark(
                offset=row[0], line=row[1], head_bytes=row[2], head=row[3], tail_bytes=row[4], tail=row[5]
            )
            if still_the_same(file, mark=mark):
                return mark
        return Mark()

    def advance(
        self, file: BinaryIO, *, path: Path, mark: Mark, receipts: Iterable[OpenReceipt] = ()
    ) -> None:
        """The file is acknowledged up to `mark`, and these receipts wait for their outcome: kept together."""
        device, inode = _identity(file)
        with self._guard:
            self._db.execute("begin")
            self._db.execute(
                "insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._target, device, inode, str(path), mark.offset, mark.line,
                    mark.head_bytes, mark.head, mark.tail_bytes, mark.tail,
                ),
            )  # fmt: skip
            self._insert_receipts(receipts)
            self._db.execute("commit")

    def digest_of(self, path: Path) -> str | None:
        """Digest of the last sent content of a file that is sent whole."""
        with self._guard:
            row = self._db.execute(
                "select digest from documents where target = ? and path = ?", (self._target, str(path))
            ).fetchone()
        return row[0] if row else None

    def document_sent(self, *, path: Path, digest: str, receipts: Iterable[OpenReceipt] = ()) -> None:
        with self._guard:
            self._db.execute("begin")
            self._db.execute(
                "insert or replace into documents values (?, ?, ?)", (self._target, str(path), digest)
            )
            self._insert_receipts(receipts)
            self._db.execute("commit")

    def open_receipts(self) -> list[OpenReceipt]:
        """Receipts left open by earlier senders, oldest first."""
        with self._guard:
            rows = self._db.execute(
                "select id, path, places, replayed from receipts where target = ? order by rowid",
                (self._target,),
            ).fetchall()
        return [
            OpenReceipt(
                id=row[0],
                path=row[1],
                places=[(line, offset) for line, offset in json.loads(row[2])],
                replayed=bool(row[3]),
            )
            for row in rows
        ]

    def receipt_closed(self, receipt: OpenReceipt) -> None:
        with self._guard:
            self._db.execute(
                "delete from receipts where target = ? and id = ? and path = ?",
                (self._target, receipt.id, receipt.path),
            )

    def _insert_receipts(self, receipts: Iterable[OpenReceipt]) -> None:
        self._db.executemany(
            "insert or replace into receipts values (?, ?, ?, ?, ?)",
            [
                (self._target, receipt.id, receipt.path, json.dumps(receipt.places), receipt.replayed)
                for receipt in receipts
            ],
        )


def _identity(file: BinaryIO) -> tuple[str, str]:
    status = os.fstat(file.fileno())
    return str(status.st_dev), str(status.st_ino)  # text: an inode may exceed SQLite's signed integers


def _hold(path: Path, *, state: Path):
    handle = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise HeldByAnotherError(
            f"another sender (process {owner}) is using the state file {state}; "
            "wait until it ends, or give this one a state file of its own with --state"
        ) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle
