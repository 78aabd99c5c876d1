"""What was sent of transcripts: how far each file was acknowledged, and the receipts whose outcome is not known yet.

Held by one sender at a time. Files are recognised by device and inode, or by path, and always by the fingerprints of what was sent.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ingestion_assets.conversations.sending.requests import Place
from ingestion_assets.conversations.sending.slices import Mark, still_the_same
from ingestion_assets.sending.files import OpenFile
from ingestion_assets.sending.state_file import StateFile

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


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReceipt:
    """An accepted request whose outcome is not known yet; `places` are those of its records in order."""

    id: str
    places: list[Place]
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How far a file was acknowledged: a transcript up to `mark`, a file that is sent whole with this `digest`."""

    path: str
    identity: tuple[str, str]
    mark: Mark | None = None
    digest: str | None = None


class Memory:
    """What the state file holds of them. Safe to use from several threads; `close()` gives it to the next sender. All raise `StateFileError`."""

    def __init__(self, *, path: Path, target: str) -> None:
        self._target = target
        self._file = StateFile(path, schema=_SCHEMA, alone=True)

    def close(self) -> None:
        self._file.close()

    def forget(self) -> None:
        """Forget all that was sent to this front door."""
        with self._file.writing() as db:
            for table in ("files", "documents", "receipts"):
                db.execute(f"delete from {table} where target = ?", (self._target,))

    def mark_of(self, file: OpenFile, *, path: str) -> Mark:
        """Where to go on reading the open file: at its start when it is new, shorter, or rewritten."""
        with self._file.reading() as db:
            rows = db.execute(
                "select next_offset, next_line, head_bytes, head, tail_bytes, tail from files "
                "where target = ? and ((device = ? and inode = ?) or path in (?, ?)) "
                "order by next_offset desc",  # an inode may be used again: what matches furthest counts
                (self._target, *file.identity, path, path.removesuffix(".gz")),
            ).fetchall()
        for row in rows:
            mark = Mark(
                offset=row[0], line=row[1], head_bytes=row[2], head=row[3], tail_bytes=row[4], tail=row[5]
            )
            if still_the_same(file, mark=mark):
                return mark
        return Mark()

    def digest_of(self, path: str) -> str | None:
        """Digest of the last sent content of a file that is sent whole."""
        with self._file.reading() as db:
            row = db.execute(
                "select digest from documents where target = ? and path = ?", (self._target, path)
            ).fetchone()
        return row[0] if row else None

    def advance(self, files: Iterable[Sent], *, receipts: Iterable[OpenReceipt] = ()) -> None:
        """These files are acknowledged so far, and these receipts wait for their outcome: kept together."""
        with self._file.writing() as db:
            for file in files:
                if file.mark is not None:
                    mark = file.mark
                    db.execute(
                        "insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            self._target, *file.identity, file.path, mark.offset, mark.line,
                            mark.head_bytes, mark.head, mark.tail_bytes, mark.tail,
                        ),
                    )  # fmt: skip
                if file.digest is not None:
                    db.execute(
                        "insert or replace into documents values (?, ?, ?)",
                        (self._target, file.path, file.digest),
                    )
            db.executemany(
                "insert or replace into receipts values (?, ?, ?, ?, ?)",
                [
                    (self._target, one.id, one.places[0][0], _packed(one.places), one.replayed)
                    for one in receipts
                ],
            )

    def open_receipts(self) -> list[OpenReceipt]:
        """Receipts left open by earlier senders, oldest first."""
        with self._file.reading() as db:
            rows = db.execute(
                "select id, path, places, replayed from receipts where target = ? order by rowid",
                (self._target,),
            ).fetchall()
        return [
            OpenReceipt(id=row[0], places=_unpacked(row[2], path=row[1]), replayed=bool(row[3]))
            for row in rows
        ]

    def receipt_closed(self, receipt: OpenReceipt) -> None:
        with self._file.writing() as db:
            db.execute(
                "delete from receipts where target = ? and id = ? and path = ?",
                (self._target, receipt.id, receipt.places[0][0]),
            )


def _packed(places: list[Place]) -> str:
    """Each file once, with the lines and offsets of its records that follow each other."""
    runs = groupby(places, key=lambda place: place[0])
    return json.dumps([[path, [place[1:] for place in run]] for path, run in runs])


def _unpacked(text: str, *, path: str) -> list[Place]:
    places: list[Place] = []
    for first, second in json.loads(text):
        if isinstance(first, str):
            places += [(first, line, offset) for line, offset in second]
        else:  # written when a request held the records of one file
            places.append((path, first, second))
    return places
