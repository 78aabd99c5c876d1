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
MODEL = f"identifiers-hashed-{WIDTH}-v2"  # raise the version with anything that changes a vector
_NEAR, _FAR = 0.4, 0.1  # shares of neighbours and of their neighbours
_NAME = 8  # a file's own name counts as if the file named it so often: what imports the file names it too
_BY_FOLDER = {
    "__init__",
    "index",
    "mod",
    "main",
    "lib",
}  # files that are imported by the name of their folder
_ALIKE = 4  # a file without edges follows the files alike by their similarity to this power
_ROWS = 1024  # of a similarity block, so that memory stays bounded


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
    near = _neighbours(own, own, edges)
    return unit(own + _NEAR * near + _FAR * _neighbours(near, own, edges))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _own(identifiers: Sequence[Mapping[str, int]], paths: Sequence[bytes]) -> np.ndarray:
    counts = [_counted(names, path) for names, path in zip(identifiers, paths, strict=True)]
    files_with = Counter(part for count in counts for part in count)
    rarity = {part: 1.0 + np.log((1 + len(counts)) / (1 + files)) for part, files in files_with.items()}
    vectors = np.zeros((len(counts), WIDTH))
    for row, count in zip(vectors, counts, strict=True):
        for part in sorted(count):
            column, sign = _column(part)
            row[column] += sign * (1.0 + np.log(count[part])) * rarity[part]
        if not row.any():  # the signs of two parts may cancel out
            row[_column(min(count))[0]] = 1.0
    return unit(vectors)


def _counted(names: Mapping[str, int], path: bytes) -> Counter[str]:
    """How often a file names each part. One that names nothing has the words of its path, or the path itself: no vector is zero."""
    counted: Counter[str] = Counter()
    for name, times in names.items():
        for part in parts(name):
            counted[part] += times
    text = path.decode("utf-8", "backslashreplace")
    if not (counted := +counted):
        return Counter(parts(text)) or Counter({text: 1})
    *folders, name = text.split("/")
    stem = name.partition(".")[0]
    if stem in _BY_FOLDER and folders:
        stem = folders[-1]
    return counted + Counter(dict.fromkeys(parts(stem), _NAME))


@lru_cache(maxsize=200_000)
def _column(part: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return number % WIDTH, 1.0 if number >> 63 else -1.0


def _renumbered(edges: Edges, place: np.ndarray) -> Edges:
    sources, targets = (place[np.asarray(ends, dtype=np.int64)] for ends in edges[:2])
    weights = np.asarray(edges.weights, dtype=np.float64)
    order = np.lexsort((weights, np.maximum(sources, targets), np.minimum(sources, targets)))
    return Edges(np.minimum(sources, targets)[order], np.maximum(sources, targets)[order], weights[order])


def _neighbours(vectors: np.ndarray, own: np.ndarray, edges: Edges) -> np.ndarray:
    """The weighted mean of each file's neighbours.

    A file without edges follows the files that name what it names. Without this, files with neighbours drift towards each other
    and away from those without, which then are nobody's nearest.
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
    alone = np.flatnonzero(~linked)
    for start in range(0, len(alone), _ROWS):
        rows = alone[start : start + _ROWS]
        alike = np.clip(own[rows] @ own.T, 0.0, 1.0) ** _ALIKE
        alike[np.arange(len(rows)), rows] = 0.0
        sums = alike.sum(axis=1, keepdims=True)
        mean[rows] = alike @ vectors / np.where(sums > 0, sums, 1.0)
    return mean
