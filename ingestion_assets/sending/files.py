"""Opens what is to be sent: regular files only, without ever waiting for one; what is gzip is read as its text.

Names are shown, and kept in the state file, as `shown` writes them.
"""

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

READ_BUFFER_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"


class NotAFileError(OSError):
    """A pipe, socket, device or folder stands where a file was looked for."""


class OpenFile:
    """A file that is open for reading, by offsets in its text. Use as a context.

    `identity` is device and inode. `damage` says, once all lines were read, why text may be missing behind them.
    """

    def __init__(self, path: Path) -> None:
        self._raw = open_regular(path)
        status = os.fstat(self._raw.fileno())
        # Text: an inode may exceed SQLite's integers.
        self.identity = (str(status.st_dev), str(status.st_ino))
        self.packed = os.pread(self._raw.fileno(), 2, 0) == GZIP_MAGIC
        self.damage: str | None = None
        self.growing = False
        self._text: BinaryIO = gzip.GzipFile(fileobj=self._raw) if self.packed else self._raw  # type: ignore[assignment]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self._raw.close()

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes of text from `offset` on."""
        if not self.packed:
            return os.pread(self._raw.fileno(), size, offset)
        try:
            self._text.seek(offset)
            return self._text.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""

    def lines_from(self, offset: int) -> Iterator[bytes]:
        """The lines from `offset` on. Of damaged text, those before the damage, which `damage` then tells."""
        try:
            self._text.seek(offset)
            yield from iter(self._text.readline, b"")
        except EOFError:
            self.growing, self.damage = True, "the compressed data ends in the middle"
        except (zlib.error, gzip.BadGzipFile) as error:
            self.damage = f"the compressed data is damaged: {error}"

    def read_all(self) -> bytes:
        """All of the text. Raises OSError where it is damaged."""
        text = b"".join(self.lines_from(0))
        if self.damage:
            raise OSError(self.damage)
        return text


def open_regular(path: Path, *, pipes: bool = False) -> BinaryIO:
    """The file, open for reading, or where `pipes` may be given one that somebody writes to (a shell's `<(…)`).

    Raises OSError; NotAFileError at once for what might never have an end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
        os.close(descriptor)
        raise NotAFileError(errno.EINVAL, f"is {kind_of(path)}, not a file", shown(path))
    os.set_blocking(descriptor, True)
    return open(descriptor, "rb", buffering=READ_BUFFER_BYTES)  # noqa: PTH123


def kind_of(path: Path) -> str:
    """What stands there, in words."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "gone"
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "a file")


def is_folder(path: Path) -> bool:
    """Whether a folder is there; not where that may not be known."""
    try:
        return path.is_dir()
    except OSError:
        return False


def shown(path: Path | str) -> str:
    """A path as text: bytes that are no UTF-8, and characters that no line of text has, as escapes."""
    text = os.fsencode(path).decode("utf-8", errors="backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def reason_of(error: OSError) -> str:
    """Why a file cannot be read, without its name."""
    return error.strerror or str(error)


def unusable(path: Path, error: Exception) -> str:
    """Why a state file cannot be used, as a sentence."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"the state file {shown(path)} cannot be used: {said}. What was sent and could not be noted is sent again, and "
        "recognised, once it can be written; --state names another"
    )
