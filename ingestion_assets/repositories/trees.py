"""What a clone holds: the entries of its tree and the bytes of its blobs, read by git, never checked out."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO

from ingestion_assets.repositories.clone import Snapshot
from ingestion_assets.repositories.git import CloneError, Limits, never, stream

MOST_PATHS = 200_000
MOST_PATH_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One path. `size` is None for what is no blob, and for a blob that was too large to be fetched."""

    path: bytes
    mode: str
    blob: bytes
    size: int | None


def entries(snapshot: Snapshot, limits: Limits) -> Iterator[Entry]:
    """Every path of the tree, in git's order. Raises `CloneError` where there are too many."""
    if snapshot.tree is None:
        return
    found = list(_listed(snapshot, snapshot.tree, limits))
    sizes = _sizes(snapshot, {one.blob for one in found if one.mode != "160000"}, limits)
    for one in found:
        yield replace(one, size=sizes.get(one.blob))


def _listed(snapshot: Snapshot, tree: str, limits: Limits) -> Iterator[Entry]:
    paths = size = 0
    rest = b""
    for piece in stream(["ls-tree", "-r", "-z", "--full-tree", tree], limits, folder=snapshot.folder):
        size += len(piece)
        *lines, rest = (rest + piece).split(b"\0")
        paths += len(lines)
        if paths > MOST_PATHS or size > MOST_PATH_BYTES:
            raise CloneError(
                "too_many_paths",
                f"The repository has more than {MOST_PATHS:,} paths, or more than {MOST_PATH_BYTES >> 20} MiB of names.",
            )
        for line in lines:
            head, path = line.split(b"\t", 1)
            mode, _kind, blob = head.decode("ascii").split(" ")
            yield Entry(path, mode, bytes.fromhex(blob), None)


def _sizes(snapshot: Snapshot, blobs: Iterable[bytes], limits: Limits) -> dict[bytes, int]:
    sizes: dict[bytes, int] = {}
    with lines_for(snapshot, (blob.hex().encode() for blob in blobs)) as given:
        asked = ["cat-file", "--batch-check=%(objectname) %(objectsize)"]
        rest = b""
        for piece in stream(asked, limits, folder=snapshot.folder, given=given):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                blob, size = line.split(b" ")
                if size != b"missing":
                    sizes[bytes.fromhex(blob.decode())] = int(size)
    return sizes


def read(
    snapshot: Snapshot, blobs: Iterable[bytes], limits: Limits, *, stopped: Callable[[], bool] = never
) -> Iterator[tuple[bytes, bytes]]:
    """The content of each blob that the clone has, in the order asked; whoever asks takes all the time it needs. Raises `CloneError`."""
    with lines_for(snapshot, (blob.hex().encode() for blob in blobs)) as given:
        pieces = stream(["cat-file", "--batch"], limits, folder=snapshot.folder, given=given, stopped=stopped)
        buffer = bytearray()
        for piece in pieces:
            buffer += piece
            while (end := buffer.find(b"\n")) >= 0:
                head = bytes(buffer[:end]).split(b" ")
                if head[1] == b"missing":
                    del buffer[: end + 1]
                    continue
                size = int(head[2])
                while len(buffer) < end + size + 2:
                    buffer += next(pieces)
                yield bytes.fromhex(head[0].decode()), bytes(buffer[end + 1 : end + 1 + size])
                del buffer[: end + size + 2]


def lines_for(snapshot: Snapshot, lines: Iterable[bytes], *, end: bytes = b"\n") -> IO[bytes]:
    """A file, without a name, of lines for git's standard input."""
    given = tempfile.TemporaryFile(dir=snapshot.folder)  # noqa: SIM115 - its user closes it
    given.writelines(line + end for line in lines)
    given.seek(0)
    return given
