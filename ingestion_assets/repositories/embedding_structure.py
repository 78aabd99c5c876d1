"""The structural vector of each file of a snapshot: the stable part, and the part trained on this repository's links."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from ingestion_assets.embedding import structural
from ingestion_assets.embedding.structural import Edges
from ingestion_assets.repositories.graphing import Graphed

LINKS = frozenset({"import", "reference"})  # a call is a reference too


@dataclass(frozen=True, slots=True)
class Structure:
    """Vectors by file, in the order of `paths`; `trained` is None where training did not help, or there was too little to train on."""

    paths: Sequence[bytes]
    stable: np.ndarray
    trained: np.ndarray | None
    held_out_auc: float | None


def structure_of(graphed: Graphed, *, tree: str | None) -> Structure:
    """The vectors of the embedded files."""
    paths = sorted(graphed.parsed)
    if not paths:
        return Structure([], np.zeros((0, structural.WIDTH), np.float32), None, None)
    links = _links(graphed, paths)
    stable = structural.stable([graphed.parsed[path].identifiers for path in paths], paths, links)
    seed = int((tree or "0")[:15], 16)
    trained = structural.trained(stable, links, seed, _device())
    return Structure(paths, stable, trained.vectors if trained.helped else None, trained.held_out_auc)


def _links(graphed: Graphed, paths: Sequence[bytes]) -> Edges:
    places = {path: number for number, path in enumerate(paths)}
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for edge in graphed.graph.edges:
        if edge.kind in LINKS and edge.source in places and edge.target in places:
            weights[places[edge.source], places[edge.target]] += edge.weight
    ordered = sorted(weights)
    sources = np.array([source for source, _ in ordered], dtype=np.int64)
    targets = np.array([target for _, target in ordered], dtype=np.int64)
    return Edges(sources, targets, np.array([weights[link] for link in ordered], dtype=np.float32))


def _device() -> str:
    if find_spec("torch") is None:
        return "cpu"
    import torch  # noqa: PLC0415

    return "cuda" if torch.cuda.is_available() else "cpu"
