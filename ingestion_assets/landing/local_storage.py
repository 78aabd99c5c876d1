"""Landing storage in a local folder, made durable with fsync."""

import os
import stat
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.landing.storage import ANSWERS_WITHIN_S, InboxFile, minute_folder, still_written
from ingestion_assets.stores.durable_files import sync_folder

PROVEN_S = 5.0  # so long a write that succeeded says that others would
PROBE_BYTES = 4096


class LocalStorage:
    """A folder. What is written is on disk before it is renamed into place, the folder's entry after."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder: tuple[Path, int] | None = None
        self._written_at = -PROVEN_S
        self._refused_bytes = 0  # of the last write, where that failed
        self._probing = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, data: bytes) -> None:
        try:
            self._write(path, data)
        except LandingUnavailableError:
            self._refused_bytes = max(len(data), 1)
            raise
        self._note_written()

    def _note_written(self) -> None:
        self._written_at, self._refused_bytes = time.monotonic(), 0

    def _write(self, path: str, data: bytes) -> None:
        target = self.root / path
        temporary = target.with_name(f".{target.name}.part")
        renamed = False
        try:
            folder = self._open_folder(target.parent)
            _write_through(temporary, data)
            temporary.rename(target)
            renamed = True
            os.fsync(folder)
        except OSError as error:
            self._close_folder()
            with suppress(OSError):
                temporary.unlink()
            kind = UncertainLandingError if renamed else LandingUnavailableError
            raise kind(f"landing storage {self.root}: {error.strerror}") from error

    def take_back(self, path: str) -> bool:
        target = self.root / path
        temporary = target.with_name(f".{target.name}.part")
        try:
            target.rename(temporary)
            sync_folder(target.parent)
        except OSError:
            return False
        with suppress(OSError):
            temporary.unlink()
        return True

    def _open_folder(self, folder: Path) -> int:
        """The folder's descriptor; a new folder (one a minute) is made durable up to the root."""
        if self._folder is None or self._folder[0] != folder:
            self._close_folder()
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                for parent in (*folder.parents,):
                    sync_folder(parent)
                    if parent == self.root:
                        break
            self._folder = (folder, os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        return self._folder[1]

    def _close_folder(self) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        try:
            with (self.root / path).open("rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)
        except OSError as error:
            top, _, _ = path.partition("/")
            if isinstance(error, FileNotFoundError) and os.access(self.root / top, os.R_OK):
                raise  # else the volume may not be mounted
            raise LandingUnavailableError(f"landing storage {self.root}: {path}: {error.strerror}") from error

    def list(self, prefix: str) -> Iterator[str]:
        folder = self.root / prefix
        if folder.is_dir():
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if entry.is_file() and not still_written(entry.name):
                    yield f"{prefix}/{entry.name}"

    def minutes(self, first: datetime, last: datetime) -> Iterator[str]:
        at = first.replace(second=0, microsecond=0)
        while at <= last:
            yield from self.list(minute_folder(at))
            at += timedelta(minutes=1)

    def segment_folders(self) -> Iterator[tuple[str, int | None]]:
        yield from self._folders_below(self.root / "segments")

    def _folders_below(self, folder: Path) -> Iterator[tuple[str, int | None]]:
        try:
            mark = folder.stat().st_mtime_ns
            below = sorted((entry.name for entry in os.scandir(folder) if entry.is_dir()), reverse=True)
        except FileNotFoundError:  # gone meanwhile
            return
        for name in below:
            yield from self._folders_below(folder / name)
        yield folder.relative_to(self.root).as_posix(), mark

    def used_inboxes(self, flows: Iterable[str]) -> Sequence[str]:
        return list(flows)

    def inbox(self, flow: str) -> Iterator[InboxFile]:
        folder = self.root / flow / "inbox"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.rglob("*")):
            with suppress(OSError):  # gone meanwhile, or in a folder that may not be entered
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or still_written(path.name):
                    continue
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                yield InboxFile(path.relative_to(self.root).as_posix(), status.st_size, modified)

    def move(self, source: str, target: str) -> None:
        destination = self.root / target
        destination.parent.mkdir(parents=True, exist_ok=True)
        (self.root / source).rename(destination)

    def folders(self, prefix: str) -> Sequence[str]:
        folder = self.root / prefix
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def remove(self, path: str) -> None:
        target = self.root / path
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            sync_folder(target.parent)
        with suppress(OSError):  # the folders of the minute and the day, once they are empty
            target.parent.rmdir()
            target.parent.parent.rmdir()

    def remove_folder(self, prefix: str) -> None:
        rmtree(self.root / prefix, ignore_errors=True)

    def probe(self) -> None:
        """With a small file where segments go now; after a refusal with as much as was refused, and its folder.

        A write that just succeeded says it, too. What a disk that hangs keeps waiting is one thread.
        """
        if not self._probing.acquire(timeout=ANSWERS_WITHIN_S):
            raise LandingUnavailableError(f"landing storage {self.root} does not answer")
        try:
            refused = self._refused_bytes
            if refused or time.monotonic() - self._written_at > PROVEN_S:
                self._try_to_write(refused)
                if self._refused_bytes <= refused:  # else more was refused meanwhile
                    self._note_written()
        except OSError as error:
            raise LandingUnavailableError(f"landing storage {self.root}: {error.strerror}") from error
        finally:
            self._probing.release()

    def _try_to_write(self, refused: int) -> None:
        folder = self.root / minute_folder(datetime.now(UTC))
        if refused:
            folder.mkdir(parents=True, exist_ok=True)
        while folder != self.root and not os.path.lexists(folder):
            folder = folder.parent
        file = folder / f".probe-{uuid.uuid4()}.part"
        try:
            _write_through(file, bytes(max(refused, PROBE_BYTES)))
        finally:
            with suppress(OSError):
                file.unlink()

    def reach(self) -> None:
        if not os.access(self.root, os.W_OK):
            raise LandingUnavailableError(f"landing storage {self.root} is not there")


def _write_through(path: Path, data: bytes) -> None:
    """Each write is on disk when it returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DSYNC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
