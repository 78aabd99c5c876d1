"""What every source of files gives: its entries in order, one by its id, the bytes of one, and what has changed."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ingestion_assets.documents.file_errors import Code, FileError

PART_BYTES = 1 << 18

Stopped = Callable[[], bool]
Progress = Callable[[int, int | None], None]


def never() -> bool:
    return False


def untold(_done: int, _of: int | None) -> None:
    """Progress that nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a source. `path` is where it lies, for people and globs; `file_id` is what it is fetched by.

    `digest` is the source's own hash of the bytes (`md5:…`): equal ones are equal files, in whatever place. `version` changes whenever
    the bytes may have changed, and maybe at other times too. `ignored` says why it is not offered though nothing is wrong with it,
    `refused` the code it fails with if it is asked for all the same, `sentence` that in words.
    """

    file_id: str
    path: str
    size: int | None = None
    mime: str | None = None
    digest: str | None = None
    version: str | None = None
    modified: datetime | None = None
    ignored: str | None = None
    refused: Code | None = None
    sentence: str | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def offered(self) -> bool:
        return self.ignored is None and self.refused is None

    @property
    def place(self) -> tuple[tuple[str, ...], str]:
        """Its place among the entries: a folder's files lie together."""
        return tuple(self.path.split("/")), self.file_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that was fetched: where it lies now, and what it is, by the source's word."""

    path: Path
    size: int
    sha256: str
    name: str
    mime: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What became of files since a token: `changed` as they are now, ids that are `gone`, and the `token` to ask with next.

    `whole` says that the token was of no use and that the source has to be listed.
    """

    token: str | None
    changed: tuple[Entry, ...] = ()
    gone: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """Of a job's `source_specific_options`, what concerns fetching."""

    encoding: str | None = None
    passwords: tuple[str, ...] = ()
    export_formats: Mapping[str, str] | None = None
    follow_shortcuts: bool = True


class Source(Protocol):
    """An open source; to be closed. Every method raises `FileError` when the source as a whole cannot be had."""

    def test(self) -> None:
        """Ask the source whether it is there, for little."""
        ...

    def entries(self) -> Iterator[Entry]:
        """All entries by their `place`, the ignored and refused ones among them."""
        ...

    def entry(self, file_id: str) -> Entry | None:
        """One by its id; None if there is none."""
        ...

    def fetch(
        self,
        file_id: str,
        into: Path,
        *,
        max_bytes: int,
        stopped: Stopped = never,
        progress: Progress = untold,
    ) -> Fetched:
        """Write a file's bytes to `into`. Raises `FileError`; then `into` is not there."""
        ...

    def digest(self, file_id: str) -> str | None:
        """The hash of a file's bytes (`sha256:…`) by reading them; None where that would be a download."""
        ...

    def start_token(self) -> str | None:
        """What to ask `changes` with later; None where the source keeps no record of changes."""
        ...

    def changes(self, token: str) -> Changes:
        """What has changed since `start_token`, or an earlier `changes`, gave the token."""
        ...

    def close(self) -> None: ...


def save(
    entry: Entry,
    parts: Iterable[bytes],
    into: Path,
    *,
    max_bytes: int,
    stopped: Stopped,
    progress: Progress,
    of: int | None = None,
) -> Fetched:
    """Write `parts` to `into`, counted and hashed on the way. Raises `FileError`; then `into` is not there."""
    hashed, size = hashlib.sha256(), 0
    try:
        with into.open("wb") as file:
            for part in parts:
                if stopped():
                    raise FileError(
                        "cancelled", "downloading", f"{entry.name}: cancelled while it was fetched."
                    )
                size += len(part)
                if size > max_bytes:
                    raise too_large(entry, max_bytes)
                hashed.update(part)
                file.write(part)
                progress(size, of)
        return Fetched(path=into, size=size, sha256=hashed.hexdigest(), name=entry.name, mime=entry.mime)
    except BaseException as error:
        into.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(entry, error) from error
        raise


def _not_written(entry: Entry, error: OSError) -> FileError:
    said = os.strerror(error.errno) if error.errno else type(error).__name__
    return FileError("download_failed", "downloading", f"{entry.name}: it could not be read whole ({said}).")


def too_large(entry: Entry, max_bytes: int) -> FileError:
    return FileError(
        "too_large",
        "downloading",
        f"{entry.name}: it has more than {max_bytes:,} bytes, the most that a file may have.",
    )


def not_found(file_id: str) -> FileError:
    return FileError("not_found", "accessing", f"{file_id}: the source has no such file (any more).")


def check_offered(entry: Entry | None, file_id: str, max_bytes: int) -> Entry:
    """The entry, if it may be fetched. Raises `FileError`."""
    if entry is None:
        raise not_found(file_id)
    if entry.refused:
        raise FileError(entry.refused, "accessing", entry.sentence or f"{entry.path}: {entry.refused}.")
    if entry.size is not None and entry.size > max_bytes:
        raise too_large(entry, max_bytes)
    return entry
