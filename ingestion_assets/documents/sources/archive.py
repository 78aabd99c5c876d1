"""Files of a zip archive. What an archive says of itself is not believed: sizes are counted, names checked, lies refused.

The standard library reads the directory and most of the data. Ours are the names, the rules on sizes, and zstd.
"""

import hashlib
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import zstandard

from ingestion_assets.documents import file_paths
from ingestion_assets.documents.file_errors import Code, FileError
from ingestion_assets.documents.sources.archive_names import names_of
from ingestion_assets.documents.sources.archive_streams import (
    ArchivePart,
    BoundedArchive,
    CheckedEntry,
    archive_error,
)
from ingestion_assets.documents.sources.source import (
    PART_BYTES,
    Changes,
    Entry,
    Fetched,
    FetchOptions,
    Progress,
    Stopped,
    check_offered,
    never,
    save,
    untold,
)

MOST_ENTRIES = 100_000
BOMB_RATIO = 200  # text of one letter gets to 1,000
BOMB_BYTES = 64 << 20  # below it a ratio harms nobody
ENCRYPTED, STREAMED, STRONG = 0x1, 0x8, 0x40
AES, ZSTD = 99, 93
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, ZSTD}
_HEADER = struct.Struct(
    "<4s22xHH"
)  # of an entry, before its data: signature, lengths of name and extra field
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    zstandard.ZstdError,
    struct.error,
    ValueError,
    IndexError,
)


class ArchiveSource:
    """The zip archive that `descriptor` is open on; it is ours to close."""

    def __init__(self, descriptor: int, options: FetchOptions) -> None:
        self._options = options
        self._file = BoundedArchive(descriptor)
        self._stamp = _stamp(descriptor)
        self._size = self._stamp[0]
        try:
            self._zip = zipfile.ZipFile(self._file)
        except FileError:
            self._file.close()
            raise
        except (*_BROKEN, NotImplementedError, OSError, OverflowError, MemoryError) as error:
            self._file.close()
            raise archive_error("corrupted", "it is no zip archive, or is damaged") from error
        infos = self._zip.infolist()
        if len(infos) > MOST_ENTRIES:
            self.close()
            raise archive_error("too_large", f"it has more than {MOST_ENTRIES:,} entries")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self._entries = {one.file_id: one for one in self._look(infos)}

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def test(self) -> None:
        """Its directory was read when it was opened."""

    def entries(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda one: one.place))

    def entry(self, file_id: str) -> Entry | None:
        return self._entries.get(file_id)

    def fetch(
        self,
        file_id: str,
        into: Path,
        *,
        max_bytes: int,
        stopped: Stopped = never,
        progress: Progress = untold,
    ) -> Fetched:
        entry = check_offered(self.entry(file_id), file_id, max_bytes)
        info = self._infos[file_id]
        try:
            fetched = save(
                entry, self._data(entry, info), into,
                max_bytes=max_bytes, stopped=stopped, progress=progress, of=info.file_size,
            )  # fmt: skip
            if fetched.size != info.file_size and fetched.size != self._told_behind(info):
                into.unlink()
                raise _corrupted(
                    entry, f"it has {fetched.size:,} bytes where the archive says {info.file_size:,}"
                )
            return fetched
        except _BROKEN as error:
            if _stamp(self._file.fileno()) != self._stamp:
                raise FileError(
                    "source_changed", "downloading", f"{entry.path}: the archive changed while it was read."
                ) from error
            raise _corrupted(entry, "its data are damaged") from error

    def digest(self, file_id: str) -> str | None:
        """None also for what cannot be read; then fetching it says why."""
        entry = self.entry(file_id)
        if entry is None or not entry.offered:
            return None
        hashed = hashlib.sha256()
        try:
            for part in self._data(entry, self._infos[file_id]):
                hashed.update(part)
        except (*_BROKEN, FileError, OSError):
            return None
        return f"sha256:{hashed.hexdigest()}"

    def start_token(self) -> str | None:
        return None

    def changes(self, token: str) -> Changes:  # noqa: ARG002 - what others need it for
        return Changes(token=None, whole=True)

    def _look(self, infos: Sequence[zipfile.ZipInfo]) -> Iterator[Entry]:
        names = names_of(infos, self._options.encoding)
        ends = _ends(infos, self._size)
        last = {name: at for at, name in enumerate(names)}
        for at, (info, name) in enumerate(zip(infos, names, strict=True)):
            why = file_paths.ignored(name)
            shown = file_paths.shown(name)
            if _is_folder(info, name):
                if why:
                    yield Entry(file_id=shown, path=shown, ignored=why)
                continue
            if last[name] != at:  # unpacking would overwrite it; the later one has the name for its id
                yield Entry(file_id=f"{shown}#{at}", path=shown, ignored="a later entry has the same name")
                continue
            refused, said = self._refusal(info, name, ends[info.header_offset])
            self._infos[shown] = info
            yield Entry(
                file_id=shown, path=shown, size=info.file_size, modified=_modified(info),
                version=f"{info.CRC:08x}:{info.file_size}:{info.compress_size}:{info.date_time}",
                ignored=why, refused=None if why else refused, sentence=f"{shown}: {said}." if said else None,
            )  # fmt: skip

    def _refusal(self, info: zipfile.ZipInfo, name: str, end: int) -> tuple[Code | None, str | None]:
        unsafe = file_paths.unsafe(name)
        if unsafe:
            return "unsafe_path", f"the path is not taken: {unsafe}"
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            return "unsafe_path", "it is a link or a device, not a file"
        if info.flag_bits & ENCRYPTED:
            if info.compress_type == AES or info.flag_bits & STRONG:
                return (
                    "password_required",
                    "it is encrypted in a way that is not read, not even with the password: pack it anew",
                )
            if not self._options.passwords:
                return (
                    "password_required",
                    "it is encrypted: give the password in `source_specific_options.passwords`",
                )
        if info.compress_type not in _METHODS:
            return (
                "unsupported_compression",
                f"it is compressed by method {info.compress_type}, which is not read",
            )
        if info.header_offset + info.compress_size > self._size:
            return "corrupted", "its data reach beyond the archive's end"
        if info.header_offset + info.compress_size > end:
            return "archive_bomb", "its data are those of other entries as well"
        if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(1, info.compress_size):
            return "archive_bomb", f"{info.compress_size:,} bytes would become {info.file_size:,}"
        return None, None

    def _data(self, entry: Entry, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """What an entry holds, a byte more than it says at most: enough to know that it lies."""
        left = info.file_size + 1
        with self._opened(entry, info) as file:
            while left > 0 and (part := file.read(min(PART_BYTES, left))):
                left -= len(part)
                yield part
        if left == 0:
            raise zipfile.BadZipFile("more data than declared")

    @contextmanager
    def _opened(self, entry: Entry, info: zipfile.ZipInfo) -> Iterator[io.BufferedIOBase]:
        if info.compress_type == ZSTD:
            yield CheckedEntry(ArchivePart(self._file, self._data_at(info), info.compress_size), info)
        else:
            with self._unlocked(entry, info) as file:
                yield file  # type: ignore[misc]

    def _unlocked(self, entry: Entry, info: zipfile.ZipInfo) -> zipfile.ZipExtFile:
        # zipfile compares names by its own reading of them, and stops at sizes that are declared: ours are counted.
        if not info.flag_bits & ENCRYPTED:
            return self._zip.open(info)  # type: ignore[return-value]
        for password in self._options.passwords:
            try:
                return self._zip.open(info, pwd=password.encode())  # type: ignore[return-value]
            except RuntimeError:  # "Bad password": one byte is compared
                continue
        raise FileError("password_wrong", "downloading", f"{entry.path}: none of the passwords opens it.")

    def _data_at(self, info: zipfile.ZipInfo) -> int:
        self._file.seek(info.header_offset)
        signature, name, extra = _HEADER.unpack(self._file.read(_HEADER.size))
        if signature != b"PK\3\4":
            raise zipfile.BadZipFile("no header before the data")
        return info.header_offset + _HEADER.size + name + extra

    def _told_behind(self, info: zipfile.ZipInfo) -> int | None:
        """The size in the descriptor behind streamed data, which is written when it is known and is right where the directory is not."""
        if not info.flag_bits & STREAMED:
            return None
        self._file.seek(self._data_at(info) + info.compress_size)
        behind = self._file.read(16).removeprefix(b"PK\7\x08")
        crc, compressed, size = struct.unpack_from("<III", behind)
        return size if (crc, compressed) == (info.CRC, info.compress_size) else None


def _ends(infos: Sequence[zipfile.ZipInfo], size: int) -> dict[int, int]:
    """Where the data of an entry must be over: where the next begins. Entries that share data make bombs of any size of few bytes."""
    offsets = sorted({one.header_offset for one in infos})
    shared = len(offsets) < len(infos)
    seen: set[int] = set()
    ends = dict(zip(offsets, [*offsets, size][1:], strict=True))
    if shared:
        for one in infos:
            if one.header_offset in seen:
                ends[one.header_offset] = one.header_offset  # none of them is taken
            seen.add(one.header_offset)
    return ends


def _is_folder(info: zipfile.ZipInfo, name: str) -> bool:
    if name.endswith("/"):
        return True
    return info.create_system == 0 and bool(info.external_attr & 0x10) and info.file_size == 0


def _modified(info: zipfile.ZipInfo) -> datetime | None:
    """By the clock of the machine that packed it, taken for UTC: the format has no zone."""
    try:
        return datetime(*info.date_time, tzinfo=UTC)
    except ValueError:
        return None


def _stamp(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _corrupted(entry: Entry, why: str) -> FileError:
    return FileError("corrupted", "downloading", f"{entry.path}: {why}.")
