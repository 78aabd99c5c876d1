"""The stable structural vector of a source file: what it names and is named, and a share of what its neighbours in the code graph name.

Parts of identifiers, weighed by how rare they are in this repository, fall by their hash into the columns of one space that all
repositories and versions share. Nothing is fitted and nothing is drawn by chance. Files are computed in the order of their paths,
so that the order in which they come changes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from ingestion_assets.embedding.identifiers import parts

WIDTH = 1024
MODEL = f"identifiers-hashed-{WIDTH}-v3"  # raise the version with anything that changes a vector
_NEAR, _FAR = 0.4, 0.1  # shares of neighbours and of their neighbours
_NAME = 0.4  # share of the file's own name, beside what the file names: what imports the file names it, and so does its test
_BY_FOLDER = {
    "__init__",
    "index",
    "mod",
    "main",
    "lib",
}  # files that are imported by the name of their folder


class Edges(NamedTuple):
    """Edges between files by their numbers; the direction does not matter here, parallel edges add up."""

    sources: Sequence[int] | np.ndarray
    targets: Sequence[int] | np.ndarray
    weights: Sequence[float] | np.ndarray


def stable(identifiers: Sequence[Mapping[str, int]], paths: Sequence[bytes], edges: Edges) -> np.ndarray:
    """One finite unit vector for each file: float32 of (files, WIDTH), in the order given."""
    own, edges, place = in_order_of_paths(identifiers, paths, edges)
    return propagate(own, edges)[place].astype(np.float32)


def in_order_of_paths(
    identifiers: Sequence[Mapping[str, int]], paths: Sequence[bytes], edges: Edges
) -> tuple[np.ndarray, Edges, np.ndarray]:
    """What each file names as a unit vector, and the edges, both by the order of paths; and where each given file then stands."""
    if len(identifiers) != len(paths):
        raise ValueError(
            f"{len(identifiers)} files have identifiers and {len(paths)} have paths; give one of each per file"
        )
    order = sorted(range(len(paths)), key=lambda number: paths[number])
    place = np.empty(len(paths), dtype=np.int64)
    place[order] = np.arange(len(paths))
    own = _own([identifiers[number] for number in order], [paths[number] for number in order])
    return own, _renumbered(Edges(*edges), place), place


def propagate(own: np.ndarray, edges: Edges) -> np.ndarray:
    """Each file's own vector with a share of its neighbours' and of their neighbours', normalised."""
    near = _neighbours(own, edges)
    return unit(own + _NEAR * near + _FAR * _neighbours(near, edges))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _own(identifiers: Sequence[Mapping[str, int]], paths: Sequence[bytes]) -> np.ndarray:
    named = [_named(names, path) for names, path in zip(identifiers, paths, strict=True)]
    titles = [_title(path) for path in paths]
    files_with = Counter(
        part for count, title in zip(named, titles, strict=True) for part in count.keys() | title.keys()
    )
    rarity = {part: 1.0 + np.log((1 + len(paths)) / (1 + files)) for part, files in files_with.items()}
    contents = unit(_hashed(named, rarity))
    for row, count in zip(contents, named, strict=True):
        if not row.any():  # the signs of two parts may cancel out
            row[_column(min(count))[0]] = 1.0
    return unit(contents + _NAME * unit(_hashed(titles, rarity)))


def _hashed(counts: Sequence[Mapping[str, int]], rarity: Mapping[str, float]) -> np.ndarray:
    vectors = np.zeros((len(counts), WIDTH))
    for row, count in zip(vectors, counts, strict=True):
        for part in sorted(count):
            column, sign = _column(part)
            row[column] += sign * (1.0 + np.log(count[part])) * rarity[part]
    return vectors


def _named(names: Mapping[str, int], path: bytes) -> Counter[str]:
    """How often a file names each part. One that names nothing has the words of its path, or the path itself: no vector is zero."""
    counted: Counter[str] = Counter()
    for name, times in names.items():
        for part in parts(name):
            counted[part] += times
    text = _text(path)
    return +counted or Counter(parts(text)) or Counter({text: 1})


def _title(path: bytes) -> Counter[str]:
    """The parts of a file's own name."""
    *folders, name = _text(path).split("/")
    stem = name.partition(".")[0]
    return Counter(parts(folders[-1] if stem in _BY_FOLDER and folders else stem))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=200_000)
def _column(part: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return number % WIDTH, 1.0 if number >> 63 else -1.0


def _renumbered(edges: Edges, place: np.ndarray) -> Edges:
    sources, targets = (place[np.asarray(ends, dtype=np.int64)] for ends in edges[:2])
    weights = np.asarray(edges.weights, dtype=np.float64)
    order = np.lexsort((weights, np.maximum(sources, targets), np.minimum(sources, targets)))
    return Edges(np.minimum(sources, targets)[order], np.maximum(sources, targets)[order], weights[order])


def _neighbours(vectors: np.ndarray, edges: Edges) -> np.ndarray:
    """The weighted mean of each file's neighbours; for a file without edges, that of all files.

    Without this, files with neighbours drift towards each other and away from those without, which then are nobody's nearest.
    """
    sources, targets, weights = (np.asarray(column) for column in edges)
    mean = np.zeros_like(vectors)
    total = np.zeros(len(vectors))
    kept = sources != targets
    for to, other in ((sources, targets), (targets, sources)):
        np.add.at(mean, to[kept], weights[kept, None] * vectors[other[kept]])
        np.add.at(total, to[kept], weights[kept])
    linked = total > 0
    mean[linked] /= total[linked, None]
    if not linked.all():
        mean[~linked] = vectors.mean(axis=0)
    return mean
