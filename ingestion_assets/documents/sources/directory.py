"""Files of a folder of this machine, below one of the roots that the settings allow."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ingestion_assets.documents import file_paths
from ingestion_assets.documents.file_errors import Code, FileError
from ingestion_assets.documents.sources.beneath import OutsideError, Root
from ingestion_assets.documents.sources.source import (
    PART_BYTES,
    Changes,
    Entry,
    Fetched,
    Progress,
    Stopped,
    check_offered,
    never,
    save,
    untold,
)

MOST_DEPTH = 200


class DirectorySource:
    """The folder that `root` holds."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def close(self) -> None:
        self._root.close()

    def test(self) -> None:
        with self._root.folder("") as handle:
            try:
                os.scandir(handle).close()
            except OSError as error:
                raise _root_error(error) from error

    def entries(self) -> Iterator[Entry]:
        """By their place. A folder that cannot be read is one refused entry; a link to a folder is passed over, lest it be read twice."""
        yield from self._walk("", 0)

    def entry(self, file_id: str) -> Entry | None:
        """One file, by its path from the root."""
        if file_paths.unsafe(file_id):
            return _unsafe(file_id)
        try:
            descriptor = self._root.open_file(file_id)
        except OSError as error:
            return None if error.errno in {errno.ENOENT, errno.ENOTDIR} else refused(file_id, error)
        try:
            return _entry(file_id, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def fetch(
        self,
        file_id: str,
        into: Path,
        *,
        max_bytes: int,
        stopped: Stopped = never,
        progress: Progress = untold,
    ) -> Fetched:
        """Copy a file. One that changes while it is read is `source_changed`."""
        entry = check_offered(self.entry(file_id), file_id, max_bytes)
        descriptor = self._open(entry)
        try:
            before = os.fstat(descriptor)
            fetched = save(
                entry, _parts(descriptor), into,
                max_bytes=max_bytes, stopped=stopped, progress=progress, of=before.st_size,
            )  # fmt: skip
            if _version(os.fstat(descriptor)) != _version(before) or fetched.size != before.st_size:
                into.unlink(missing_ok=True)
                raise FileError(
                    "source_changed", "downloading", f"{entry.name}: it changed while it was read."
                )
            return fetched
        finally:
            os.close(descriptor)

    def digest(self, file_id: str) -> str | None:
        """The hash of a file's bytes, as a `digest` of entries; None if it cannot be read now."""
        entry = self.entry(file_id)
        if entry is None or entry.refused:
            return None
        hashed = hashlib.sha256()
        try:
            descriptor = self._open(entry)
            try:
                for part in _parts(descriptor):
                    hashed.update(part)
            finally:
                os.close(descriptor)
        except (FileError, OSError):
            return None
        return f"sha256:{hashed.hexdigest()}"

    def start_token(self) -> str | None:
        return None

    def changes(self, token: str) -> Changes:  # noqa: ARG002 - what others need it for
        return Changes(token=None, whole=True)

    def _open(self, entry: Entry) -> int:
        try:
            return self._root.open_file(entry.file_id)
        except OSError as error:
            found = refused(entry.file_id, error)
            raise FileError(found.refused or "not_found", "accessing", found.sentence or "") from error

    def _walk(self, folder: str, depth: int) -> Iterator[Entry]:
        try:
            with self._root.folder(folder) as handle, os.scandir(handle) as found:
                children = sorted(
                    ((one.name, _mode(one)) for one in found), key=lambda one: file_paths.shown(one[0])
                )
        except OSError as error:
            if not folder:
                raise _root_error(error) from error
            if error.errno != errno.ENOENT:  # else it has just been removed
                yield refused(folder, error)
            return
        for name, kind in children:
            if kind is not None:  # else it has just been removed
                yield from self._child(f"{folder}/{name}" if folder else name, kind, depth)

    def _child(self, path: str, kind: int, depth: int) -> Iterator[Entry]:
        why = file_paths.ignored(path)
        if file_paths.unsafe(path):
            yield _unsafe(path)
        elif why:
            yield Entry(file_id=path, path=path, ignored=why)
        elif stat.S_ISDIR(kind) and depth >= MOST_DEPTH:
            said = f"{path}: its folders are nested too deep."
            yield Entry(file_id=path, path=path, refused="unsafe_path", sentence=said)
        elif stat.S_ISDIR(kind):
            yield from self._walk(path, depth + 1)
        else:
            entry = self.entry(path)
            if entry is None and stat.S_ISLNK(kind):
                said = f"{path}: it is a link to what is not there."
                yield Entry(file_id=path, path=path, refused="not_found", sentence=said)
            elif entry is not None and entry.refused and stat.S_ISLNK(kind) and self._is_folder(path):
                yield Entry(file_id=path, path=path, ignored="link to a folder of the source")
            elif entry is not None:
                yield entry

    def _is_folder(self, path: str) -> bool:
        try:
            with self._root.folder(path):
                return True
        except OSError:
            return False


def _mode(one: "os.DirEntry[str]") -> int | None:
    try:
        return one.stat(follow_symlinks=False).st_mode
    except OSError:
        return None


def _parts(descriptor: int) -> Iterator[bytes]:
    """As much as was there at the beginning, and a byte more where it has grown: one that is written to has no end."""
    left = os.fstat(descriptor).st_size + 1
    while part := os.read(descriptor, min(PART_BYTES, left)):
        left -= len(part)
        yield part


def _version(of: os.stat_result) -> str:
    """Changes with every write, and with what a rename or a new owner leaves: a time of change cannot be set back, unlike that of the
    last write."""
    return f"{of.st_size}:{of.st_mtime_ns}:{of.st_ctime_ns}:{of.st_ino}"


def _entry(path: str, of: os.stat_result) -> Entry:
    return Entry(
        file_id=path,
        path=path,
        size=of.st_size,
        version=_version(of),
        modified=datetime.fromtimestamp(of.st_mtime, UTC),
        ignored=file_paths.ignored(path),
    )


def _unsafe(path: str) -> Entry:
    shown = file_paths.shown(path)
    return Entry(
        file_id=shown,
        path=shown,
        refused="unsafe_path",
        sentence=f"{shown}: the path is not taken: {file_paths.unsafe(path)}.",
    )


def refused(path: str, error: OSError) -> Entry:
    """The entry for what cannot be opened."""
    code: Code = "access_denied"
    said = os.strerror(error.errno) if error.errno else "it cannot be read"
    if isinstance(error, OutsideError):
        code, said = "unsafe_path", str(error.strerror)
    elif error.errno in {errno.ENOENT, errno.ENOTDIR}:
        code = "not_found"
    elif error.errno == errno.ENAMETOOLONG:
        code, said = "not_found", "a name in it is longer than the file system takes"
    elif error.errno == errno.EISDIR:
        code, said = "unsupported_type", "it is a folder and no file"
    elif error.errno in {errno.EINVAL, errno.ENXIO, errno.ENODEV}:
        code, said = "unsupported_type", "it is no regular file"
    return Entry(file_id=path, path=path, refused=code, sentence=f"{path}: {said}.")


def _root_error(error: OSError) -> FileError:
    denied = error.errno in {errno.EACCES, errno.EPERM}
    return FileError(
        "access_denied" if denied else "not_found",
        "accessing",
        f"The folder of the connection cannot be read ({os.strerror(error.errno or 0)}).",
    )
