"""What a disk would hold if the power failed: a recording replayed on a disk that keeps only what it was told to.

What was synced is there. Of what was not, under the model `POSIX`:

- a write may be there or not, each 4 KiB of it by itself, each of them as it was after any of the writes since the last sync;
- the file's size is any that it had since, and what lies below it without having been written is zeros;
- an entry of a folder that was not synced (a new file, a rename, a removal) may be there or not, each by itself; a rename within
  one folder happens whole or not at all. So a file that was synced may be gone when its folder was not.

`JOURNALED` is milder in what ext4, XFS and btrfs do, and what some servers count on: a new file that was synced has its entry,
and what a file grew by is there up to some point, without holes.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path

from ingestion_assets_tests.faults.recording import Kind, Record, Recording

PAGE = 4096


class Model(Enum):
    """How much a disk keeps that nobody asked it to keep."""

    POSIX = auto()
    JOURNALED = auto()


@dataclass(slots=True, eq=False)
class File:
    """The durable content (or the file that holds it), and the operations since, each with its position in the log."""

    original: Path | None = None
    content: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)

    def sync(self, before: int) -> None:
        """What was done before this position of the log is durable."""
        kept = [one for one in self.pending if one.position >= before]
        if len(kept) == len(self.pending):
            return
        content = self._loaded()
        for one in self.pending:
            if one.position < before:
                _apply(content, one)
        self.pending = kept

    def durable_write(self, one: Record) -> None:
        """A write that is on disk with the pages it touches; what is pending for these is then, too."""
        first, last = one.at // PAGE * PAGE, -(-(one.at + len(one.rest)) // PAGE) * PAGE
        if any(other.kind != Kind.WRITE or first <= other.at < last for other in self.pending):
            self.sync(one.position)
        _apply(self._loaded(), one)

    def after_loss(self, rng: random.Random, model: Model) -> bytes | bytearray | Path:
        """What may be found, as bytes or as the file that holds them."""
        if not self.pending or rng.random() < 1 / 4:
            return self.content if self.original is None else self.original
        durable = bytes(self.content) if self.original is None else self.original.read_bytes()
        if rng.random() < 1 / 4:
            whole = bytearray(durable)
            for one in self.pending:
                _apply(whole, one)
            return bytes(whole)
        return _some_pages(durable, self.pending, rng, model)

    def _loaded(self) -> bytearray:
        if self.original is not None:
            self.content, self.original = bytearray(self.original.read_bytes()), None
        return self.content


@dataclass(slots=True, eq=False)
class Change:
    """Entries that a folder got (or lost: None) at once."""

    position: int
    entries: dict[str, "File | Folder | None"]


@dataclass(slots=True, eq=False)
class Folder:
    """What it holds for sure, what it holds for the server, and the changes that lie between."""

    durable: dict[str, "File | Folder"] = field(default_factory=dict)
    live: dict[str, "File | Folder"] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, position: int, entries: dict[str, "File | Folder | None"]) -> None:
        _enter(self.live, entries)
        self.pending.append(Change(position, entries))

    def sync(self, before: int) -> None:
        for one in self.pending:
            if one.position < before:
                _enter(self.durable, one.entries)
        self.pending = [one for one in self.pending if one.position >= before]

    def keep(self, node: "File | Folder") -> None:
        """The entry of this node is durable, as far as it was not before."""
        for name, held in self.live.items():
            if held is node and self.durable.get(name) is not node:
                self.durable[name] = node

    def after_loss(self, rng: random.Random) -> dict[str, "File | Folder"]:
        """Which entries may be found."""
        entries = dict(self.durable)
        share = rng.choice((0.0, 0.5, 1.0))
        for one in self.pending:
            if rng.random() < share:
                _enter(entries, one.entries)
        return entries


class Disk:
    """The disk under a recording, at the position up to which it was replayed."""

    def __init__(self, recording: Recording, *, model: Model) -> None:
        self._root = recording.root
        self._model = model
        self._top = _loaded(recording.before)
        self._files: dict[int, File] = {}
        for inode, path in recording.inodes.items():
            node = self._node(path)
            if isinstance(node, File):
                self._files[inode] = node

    def replay(self, one: Record) -> None:
        """The next record of the log."""
        match one.kind:
            case Kind.CREATE:
                made = self._files[one.file] = File()
                self._enter(one, {one.path: made})
            case Kind.MKDIR:
                self._enter(one, {one.path: Folder()})
            case Kind.RENAME:
                target = os.path.normpath(os.fsdecode(one.rest))
                node = self._node(one.path)
                self._enter(one, {one.path: None, target: node})
            case Kind.LINK:
                self._enter(one, {os.path.normpath(os.fsdecode(one.rest)): self._node(one.path)})
            case Kind.UNLINK | Kind.RMDIR:
                self._enter(one, {one.path: None})
            case Kind.SYNC_FOLDER:
                folder = self._node(one.path)
                if isinstance(folder, Folder):
                    folder.sync(one.at)
            case Kind.SYNC:
                self._sync(self._files.get(one.file), one.at)
            case Kind.WRITE | Kind.TRUNCATE | Kind.ALLOCATE:
                file = self._files.get(one.file)
                if file is not None:
                    file.durable_write(one) if one.durable else file.pending.append(one)
            case Kind.NOTE:
                pass

    def lose_power(self, target: Path, rng: random.Random) -> None:
        """Put what may be found afterwards into the new folder `target`, with the recorded one's owners."""
        _put(self._top, target, rng, self._model)
        target.chmod(self._root.stat().st_mode & 0o7777)
        for entry in target.iterdir():
            recorded = self._root / entry.name
            owner = (recorded if recorded.exists() else self._root).stat()
            for path in (entry, *entry.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _sync(self, file: File | None, before: int) -> None:
        if file is None:
            return
        file.sync(before)
        if self._model is Model.JOURNALED:
            for folders, holder in _holders(self._top, file):
                holder.keep(file)
                for folder, child in pairwise([*folders, holder]):
                    folder.keep(child)

    def _enter(self, one: Record, entries: dict[str, "File | Folder | None"]) -> None:
        """Entries by path: one change for each folder."""
        by_folder: dict[str, dict[str, File | Folder | None]] = {}
        for path, node in entries.items():
            folder, name = os.path.split(path)
            by_folder.setdefault(folder, {})[name] = node
        for path, named in by_folder.items():
            folder = self._node(path)
            if isinstance(folder, Folder):
                folder.change(one.position, named)

    def _node(self, path: str) -> "File | Folder | None":
        node: File | Folder | None = self._top
        for name in (
            Path(path).relative_to(self._root).parts if Path(path).is_relative_to(self._root) else ("",)
        ):
            if not isinstance(node, Folder):
                return None
            node = node.live.get(name)
        return node


def instants(records: Sequence[Record], count: int, rng: random.Random) -> list[int]:
    """Indexes of records before each of which the power fails: half of them just after a note, when a promise was made, one in
    eight while the server starts."""
    noted = [index + 1 for index, one in enumerate(records) if one.kind == Kind.NOTE]
    chosen: list[int] = []
    for number in range(count):
        if number % 8 == 0:
            chosen.append(rng.randint(0, noted[0]))
        elif number % 2:
            chosen.append(rng.choice(noted))
        else:
            chosen.append(rng.randint(noted[0], len(records)))
    return sorted(chosen)


def _apply(content: bytearray, one: Record) -> None:
    end = one.at + len(one.rest) if one.kind == Kind.WRITE else one.size
    if end > len(content):
        content.extend(bytes(end - len(content)))
    if one.kind == Kind.WRITE:
        content[one.at : end] = one.rest
    elif one.kind == Kind.TRUNCATE:
        del content[end:]


def _some_pages(durable: bytes, pending: Sequence[Record], rng: random.Random, model: Model) -> bytes:
    """Each page as it was after some of the operations, and some size that the file had."""
    sizes = [len(durable)]
    for one in pending:
        end = one.at + len(one.rest)
        sizes.append(
            max(sizes[-1], end if one.kind == Kind.WRITE else one.size)
            if one.kind != Kind.TRUNCATE
            else one.size
        )
    content = bytearray(durable).ljust(max(sizes), b"\0")
    until: dict[int, int] = {}

    def has(page: int, number: int) -> bool:
        if page not in until:
            grown = model is Model.JOURNALED and (page + 1) * PAGE > len(durable)
            until[page] = len(pending) if grown else rng.randint(0, len(pending))
        return number < until[page]

    for number, one in enumerate(pending):
        if one.kind == Kind.WRITE:
            for start, end in _pages(one.at, one.at + len(one.rest)):
                if has(start // PAGE, number):
                    content[start:end] = one.rest[start - one.at : end - one.at]
        elif one.kind == Kind.TRUNCATE:
            for start, end in _pages(one.size, len(content)):
                if has(start // PAGE, number):
                    content[start:end] = bytes(end - start)
    size = rng.choice(sizes)
    if model is Model.JOURNALED and size > len(durable):
        size = rng.choice((size, rng.randrange(len(durable), size) // PAGE * PAGE))
    return bytes(content[: max(size, min(sizes))])


def _pages(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = min(end, (start // PAGE + 1) * PAGE)
        yield start, stop
        start = stop


def _enter(held: dict[str, File | Folder], entries: dict[str, File | Folder | None]) -> None:
    for name, node in entries.items():
        if node is None:
            held.pop(name, None)
        else:
            held[name] = node


def _loaded(folder: Path) -> Folder:
    made = Folder()
    for path in folder.iterdir():
        made.durable[path.name] = _loaded(path) if path.is_dir() else File(original=path)
    made.live = dict(made.durable)
    return made


def _holders(
    folder: Folder, file: File, above: Sequence[Folder] = ()
) -> Iterator[tuple[list[Folder], Folder]]:
    """Folders that hold the file for the server, each with those above it from the top."""
    for node in folder.live.values():
        if node is file:
            yield list(above), folder
        elif isinstance(node, Folder):
            yield from _holders(node, file, (*above, folder))


def _put(folder: Folder, target: Path, rng: random.Random, model: Model) -> None:
    target.mkdir(mode=0o700)
    for name, node in folder.after_loss(rng).items():
        if isinstance(node, Folder):
            _put(node, target / name, rng, model)
            continue
        found = node.after_loss(rng, model)
        if isinstance(found, Path):
            shutil.copy2(found, target / name)
        else:
            (target / name).write_bytes(found)
            (target / name).chmod(0o600)
