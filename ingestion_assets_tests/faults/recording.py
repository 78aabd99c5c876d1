"""Running a server with the recorder in it, and reading what it did to its folder, with what its clients were told in between."""

import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from ingestion_assets_tests.faults.preload import built

_HEADER = struct.Struct("<IBBHQQQ")


class Kind(IntEnum):
    """What a record tells; as in `recorder.c`."""

    NOTE = 0
    CREATE = 1
    WRITE = 2
    SYNC = 3
    TRUNCATE = 4
    ALLOCATE = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    LINK = 10
    SYNC_FOLDER = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One operation, or a note. `position` is the byte of the log at which it stands."""

    position: int
    kind: Kind
    durable: bool
    """A write that was on disk when it returned."""
    file: int
    """The inode."""
    at: int
    """Where a write begins; up to which byte the log had come when a sync began."""
    size: int
    path: str
    rest: bytes
    """What was written or noted; the second path of a rename."""


@dataclass(slots=True, kw_only=True)
class Recording:
    """The folder `root` as it was before, the log of what was done to it since, and notes."""

    root: Path
    before: Path
    """A copy of the folder, all of it durable."""
    inodes: Mapping[int, str]
    """Paths of the files that were there before."""
    log: Path
    _notes: int = field(default=-1)

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs to be recorded."""
        return {
            "LD_PRELOAD": str(built("recorder")),
            "RECORDER_ROOT": str(self.root),
            "RECORDER_LOG": str(self.log),
        }

    def note(self, what: Any) -> None:
        """Something that a client was just told, as JSON; for any thread."""
        rest = json.dumps(what).encode()
        os.write(self._notes, _HEADER.pack(_HEADER.size + len(rest), Kind.NOTE, 0, 0, 0, 0, 0) + rest)

    def records(self) -> Iterator[Record]:
        """The log so far."""
        position = 0
        with self.log.open("rb") as log:
            while len(head := log.read(_HEADER.size)) == _HEADER.size:
                length, kind, flags, named, file, at, size = _HEADER.unpack(head)
                body = log.read(length - _HEADER.size)
                yield Record(
                    position=position, kind=Kind(kind), durable=bool(flags), file=file, at=at, size=size,
                    path=os.path.normpath(os.fsdecode(body[:named])), rest=body[named:],
                )  # fmt: skip
                position += length


@contextmanager
def recording(root: Path, folder: Path) -> Iterator[Recording]:
    """A recording of what is done to `root`, kept in `folder`; servers are started with its `environment` within the block."""
    folder.mkdir(parents=True)
    root = root.resolve()
    shutil.copytree(root, folder / "before", symlinks=True)
    inodes = {path.lstat().st_ino: str(path) for path in root.rglob("*") if path.is_file()}
    with tempfile.TemporaryDirectory(prefix="ingestion-recording-") as logs:
        log = Path(logs) / "log"
        log.touch()
        log.parent.chmod(0o755)
        log.chmod(0o666)  # a server may run as another user
        notes = os.open(log, os.O_WRONLY | os.O_APPEND)
        try:
            yield Recording(root=root, before=folder / "before", inodes=inodes, log=log, _notes=notes)
        finally:
            os.close(notes)


def started(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path
) -> subprocess.Popen[bytes]:
    """A server in its folder, its output in a file beside it."""
    with output.open("ab") as said:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment},
        )  # fmt: skip
