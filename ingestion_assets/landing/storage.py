"""Where segments lie: a local folder made durable with fsync, or any object store by URL.

Segments are filed by the minute in which they are written (`segments/2026-01-31/12-05/<uuid7>.seg`), so that finding those
which the ledger does not know yet means listing a few minutes as a rule, however much is stored. What lies elsewhere is found too,
by a walk over all folders (`sweeping`).
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from ingestion_assets.landing.clock import since_boot
from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.settings import Settings
from ingestion_assets.stores.durable_files import sync_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

TAKE_BACK_S = 0.5  # after a rename; reconciliation leaves segments alone that are younger than a second


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A file that someone put straight into `<flow>/inbox/`. `modified` tells when it was last written."""

    path: str
    size: int
    modified: datetime


class LandingStorage(Protocol):
    """What the spine needs of landing storage. Paths are relative, with `/`."""

    def write(self, path: str, data: bytes) -> None:
        """Durable on return, whole or not at all.

        Raises `LandingUnavailableError` where nothing was kept, and `UncertainLandingError` where that cannot be told.
        """
        ...

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object. Raises `FileNotFoundError` if the storage is there and the object isn't, for ever.

        Raises `LandingUnavailableError` for whatever else goes wrong: that will pass.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths in a folder, none if it does not exist."""
        ...

    def segment_folders(self) -> Iterator[tuple[str, int | None]]:
        """The folders that `list` gives all segments of, newest name first, each with a mark that changes when its entries do.

        The mark is None where there is no such thing.
        """
        ...

    def inbox(self, flow: str) -> Iterator[InboxFile]:
        """Files in `<flow>/inbox/`, those still being written (hidden or `*.part`) left out."""
        ...

    def move(self, source: str, target: str) -> None: ...

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders in a folder, none if it does not exist."""
        ...

    def remove(self, path: str) -> None:
        """Delete an object, durably; one that is not there is fine."""
        ...

    def remove_folder(self, prefix: str) -> None:
        """Delete a folder with all that is in it."""
        ...

    def probe(self) -> None:
        """Raises `LandingUnavailableError` if nothing could be written now."""
        ...


def segment_path(segment_id: UUID, at: datetime) -> str:
    return f"{minute_folder(at)}/{segment_id}.seg"


def written_at(path: str) -> datetime:
    """When the segment of this path was written; long ago for a file that someone put there under another name."""
    try:
        segment_id = UUID(path.rpartition("/")[2].removesuffix(".seg"))
        return datetime.fromtimestamp((segment_id.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def minute_folder(at: datetime) -> str:
    return at.astimezone(UTC).strftime("segments/%Y-%m-%d/%H-%M")


def _still_written(name: str) -> bool:
    return name.startswith(".") or name.endswith((".part", ".tmp"))


class LocalStorage:
    """A folder. What is written is on disk before it is renamed into place, the folder's entry after."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder: tuple[Path, int] | None = None
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, data: bytes) -> None:
        target = self.root / path
        temporary = target.with_name(f".{target.name}.part")
        renamed_at = None
        try:
            folder = self._open_folder(target.parent)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DSYNC, 0o640)
            try:
                view = memoryview(data)
                while view:  # each write is on disk when it returns
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
            before = since_boot()
            temporary.rename(target)
            renamed_at = before
            os.fsync(folder)
        except OSError as error:
            self._close_folder()
            certain = renamed_at is None or self._taken_back(target, temporary, renamed_at)
            with suppress(OSError):
                temporary.unlink()
            kind = LandingUnavailableError if certain else UncertainLandingError
            raise kind(f"landing storage {self.root}: {error.strerror}") from error

    def _taken_back(self, target: Path, temporary: Path, renamed_at: float) -> bool:
        """Whether a file that may not be durable is certainly gone: renamed back, durably, before anybody looked for it."""
        try:
            if since_boot() - renamed_at > TAKE_BACK_S:
                return False
            target.rename(temporary)
            sync_folder(target.parent)
        except OSError:
            return False
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
                if entry.is_file() and not _still_written(entry.name):
                    yield f"{prefix}/{entry.name}"

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

    def inbox(self, flow: str) -> Iterator[InboxFile]:
        folder = self.root / flow / "inbox"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.rglob("*")):
            with suppress(OSError):  # gone meanwhile, or in a folder that may not be entered
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or _still_written(path.name):
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
        if not os.access(self.root, os.W_OK):
            raise LandingUnavailableError(f"landing storage {self.root} is not writable")


class ObjectStorage:
    """An object store: a PUT is durable once acknowledged."""

    def __init__(self, store: "ObjectStore", url: str) -> None:
        self.store = store
        self.url = url

    def write(self, path: str, data: bytes) -> None:
        from obstore import exceptions  # noqa: PLC0415

        refusals = (
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.NotFoundError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
        )
        try:
            self.store.put(path, data)
        except (*refusals, FileNotFoundError, PermissionError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {error}") from error
        except (
            exceptions.BaseError,
            OSError,
        ) as error:  # the answer to a PUT that was done may have been lost
            raise UncertainLandingError(f"landing storage {self.url}: {error}") from error

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415

        try:
            if length is None:
                return bytes(self.store.get(path).bytes())[offset:]
            return bytes(self.store.get_range(path, start=offset, length=length))
        except (FileNotFoundError, NotFoundError) as error:
            self.probe()  # a bucket that is not there has no objects either
            raise FileNotFoundError(f"{self.url}: there is no {path}") from error
        except (BaseError, OSError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {path}: {error}") from error

    def list(self, prefix: str) -> Iterator[str]:
        for page in self.store.list(f"{prefix}/"):
            yield from sorted(item["path"] for item in page)

    def segment_folders(self) -> Iterator[tuple[str, int | None]]:
        for day in reversed(self.folders("segments")):
            yield f"segments/{day}", None

    def inbox(self, flow: str) -> Iterator[InboxFile]:
        for page in self.store.list(f"{flow}/inbox/"):
            for item in page:
                if not _still_written(item["path"].rsplit("/", 1)[-1]):
                    yield InboxFile(item["path"], item["size"], item["last_modified"])

    def move(self, source: str, target: str) -> None:
        self.store.rename(source, target)

    def folders(self, prefix: str) -> Sequence[str]:
        found = self.store.list_with_delimiter(f"{prefix}/")["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.store.delete(path)

    def remove_folder(self, prefix: str) -> None:
        for page in self.store.list(f"{prefix}/"):
            self.store.delete([item["path"] for item in page])

    def probe(self) -> None:
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            next(iter(self.store.list("segments/", chunk_size=1)), None)
        except (BaseError, OSError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {error}") from error


def open_storage(settings: Settings) -> LandingStorage:
    """The landing storage that the settings name."""
    if settings.landing_url is None:
        return LocalStorage(settings.home / "landing")
    from obstore.store import from_url  # noqa: PLC0415

    return ObjectStorage(from_url(settings.landing_url), settings.landing_url)
