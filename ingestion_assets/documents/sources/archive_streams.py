"""What of an archive is read, and how far: its directory, a part, an entry's data with their checksum. No size in it is believed."""

import io
import zipfile
import zlib
from typing import Any

import zstandard

from ingestion_assets.documents.file_errors import Code, FileError

MOST_DIRECTORY_BYTES = 64 << 20


class BoundedArchive(io.FileIO):
    """An archive whose directory is no larger than we can hold: `zipfile` reads it in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_DIRECTORY_BYTES:
            raise archive_error("too_large", f"its directory has more than {MOST_DIRECTORY_BYTES:,} bytes")
        return super().read(size) or b""


class ArchivePart:
    """A part of the archive, to be read from its beginning to its end."""

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        self._file, self._at, self._left = file, start, size

    def read(self, size: int | None = -1, /) -> bytes:
        self._file.seek(self._at)
        part = self._file.read(self._left if size is None or size < 0 else min(size, self._left))
        self._at += len(part)
        self._left -= len(part)
        return part


class CheckedEntry(io.BufferedIOBase):
    """The data of a zstd entry, compared with their checksum at the end."""

    def __init__(self, compressed: Any, info: zipfile.ZipInfo) -> None:
        self._reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(compressed)
        self._expected, self._crc = info.CRC, 0

    def read(self, size: int | None = -1, /) -> bytes:
        part = self._reader.read(-1 if size is None else size)
        self._crc = zlib.crc32(part, self._crc)
        if not part and self._crc != self._expected:
            raise zipfile.BadZipFile("wrong checksum")
        return part


def archive_error(code: Code, why: str) -> FileError:
    return FileError(code, "accessing", f"The archive of the connection cannot be read: {why}.")
