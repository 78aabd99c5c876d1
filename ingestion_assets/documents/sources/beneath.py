"""Opening files below a folder, and nowhere else, whatever links are there and whoever swaps them meanwhile.

Each part of a path is opened by the handle of the folder before it, without following links; a link is read and its target walked in
the same way. So what is checked and what is opened are one, and a link that is put in place of a folder leads nowhere. (Linux has
`openat2` with RESOLVE_BENEATH for it, which Python does not know and other systems do not have.)
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

MOST_LINKS = 40  # as the kernel's own
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not make us wait


class OutsideError(OSError):
    """A path leads out of its root, or in circles."""


class Root:
    """A folder, held open. To be closed."""

    def __init__(self, path: str, *, within: "Root | None" = None) -> None:
        """The folder at `path`; below `within` where that is given, its links not leading out of that either."""
        if within is None:
            self.handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            self.handle = within._open(path, folder=True)
        # Where absolute links must point to: its own place, by the kernel's word.
        self.place = os.path.realpath(path if within is None else f"{within.place}/{path}")

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def open_file(self, path: str) -> int:
        """A descriptor of the regular file at a relative path. Raises `OSError`; `OutsideError` when it leads out."""
        descriptor = self._open(path, folder=False)
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            os.close(descriptor)
            if stat.S_ISDIR(kind):
                raise OSError(errno.EISDIR, "a folder")
            raise OSError(errno.EINVAL, "not a regular file")
        return descriptor

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """A descriptor of the folder at a relative path, empty for the root itself."""
        descriptor = self._open(path, folder=True) if path else os.dup(self.handle)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, path: str, *, folder: bool) -> int:
        waiting = path.split("/")[::-1]
        handles = [os.dup(self.handle)]
        links = 0
        try:
            while waiting:
                part = waiting.pop()
                if part in {"", "."}:
                    continue
                if part == "..":
                    if len(handles) == 1:
                        raise OutsideError(errno.EXDEV, "it leads out of the source's root")
                    os.close(handles.pop())
                    continue
                last = all(one in {"", "."} for one in waiting)
                try:
                    opened = os.open(part, _FILE if last and not folder else _FOLDER, dir_fd=handles[-1])
                except OSError as error:
                    target = _target(part, handles[-1], error)
                    links += 1
                    if links > MOST_LINKS:
                        raise OutsideError(errno.ELOOP, "its links lead in circles") from error
                    if target.startswith("/"):
                        target = self._inside(target)
                        _close(handles[1:])
                        del handles[1:]
                    waiting.extend(target.split("/")[::-1])
                    continue
                if last and not folder:
                    return opened
                handles.append(opened)
            if not folder:
                raise OSError(errno.EISDIR, "a folder")
            return handles.pop()
        finally:
            _close(handles)

    def _inside(self, target: str) -> str:
        """An absolute link's target, from the root. Nothing hangs on its being right: it is walked from there, as any path."""
        if target != self.place and not target.startswith(self.place.rstrip("/") + "/"):
            raise OutsideError(errno.EXDEV, "it is a link that leads out of the source's root")
        return target[len(self.place) :]


def _target(name: str, folder: int, error: OSError) -> str:
    """What a link leads to, that could not be opened as it is one. Raises `error` if it is none."""
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
        with suppress(OSError):
            return os.readlink(name, dir_fd=folder)
    raise error


def _close(handles: Iterable[int]) -> None:
    for handle in handles:
        os.close(handle)
