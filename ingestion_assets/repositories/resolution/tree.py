"""Paths within a tree: bytes, `/` between names, the root is empty."""

from collections.abc import Collection, Iterable, Iterator

DEPTH = 64  # folders above a file that are looked at


def folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def under(base: bytes, relative: bytes) -> bytes:
    """`relative` below `base`, taken as it is."""
    return b"/".join(one for one in (base, relative) if one)


def joined(base: bytes, relative: bytes) -> bytes | None:
    """`relative`, with its `.` and `..`, seen from the folder `base`; None where that leaves the tree."""
    if relative.startswith(b"/"):
        return None
    parts = base.split(b"/") if base else []
    for part in relative.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
    return b"/".join(parts)


def above(base: bytes) -> Iterator[bytes]:
    """`base` and the folders above it, nearest first, at most `DEPTH` and the root."""
    for _ in range(DEPTH):
        yield base
        if not base:
            return
        base = folder(base)
    yield b""


def folders(paths: Iterable[bytes]) -> set[bytes]:
    """Every folder that holds one of the paths, at any depth."""
    found = {b""}
    for path in paths:
        one = folder(path)
        while one not in found:
            found.add(one)
            one = folder(one)
    return found


def nearest(source: bytes, candidates: Collection[bytes]) -> bytes:
    """The candidate that shares most leading folders with `source`; of equals, the shortest, then the first in order."""
    parts = source.split(b"/")

    def far(candidate: bytes) -> tuple[int, int, bytes]:
        shared = 0
        for one, other in zip(parts, candidate.split(b"/"), strict=False):
            if one != other:
                break
            shared += 1
        return -shared, candidate.count(b"/"), candidate

    return min(candidates, key=far)


def encoded(text: str) -> bytes:
    """Text of a source as part of a path."""
    return text.encode("utf-8", "replace")
