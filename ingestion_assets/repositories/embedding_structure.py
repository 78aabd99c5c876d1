"""The structural vector of each file of a snapshot: the stable part, and the part trained on this repository's links."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingestion_assets.embedding import structural, training
from ingestion_assets.embedding.structural import Edges
from ingestion_assets.repositories.graph import CodeGraph
from ingestion_assets.repositories.graphing import Graphed

MODEL = f"{structural.MODEL}+{training.MODEL}"
LINKS = frozenset({"import", "reference"})  # a call is a reference too


@dataclass(frozen=True, slots=True)
class Structure:
    """Vectors by file, in the order of `paths`; `trained` is None where training did not help, or there was too little to train on.

    `held_out_auc` is that of links that were kept back, `stable_auc` the same for the stable part alone; None where there were too few.
    """

    paths: Sequence[bytes]
    stable: np.ndarray
    trained: np.ndarray | None = None
    held_out_auc: float | None = None
    stable_auc: float | None = None


def structure_of(graphed: Graphed, *, tree: str | None) -> Structure:
    """The vectors of the embedded files. The same tree gives the same vectors."""
    paths = sorted(graphed.parsed)
    if not paths:
        return Structure([], np.zeros((0, structural.WIDTH), np.float32))
    identifiers, edges = [graphed.parsed[path].identifiers for path in paths], links(graphed.graph, paths)
    stable = structural.stable(identifiers, paths, edges)
    found = training.trained(identifiers, paths, edges, int((tree or "0")[:15], 16))
    return Structure(
        paths, stable, found.vectors if found.helped else None, found.held_out_auc, found.stable_auc
    )


def links(graph: CodeGraph, paths: Sequence[bytes]) -> Edges:
    """The imports and references between the files of `paths`, by their numbers there."""
    places = {path: number for number, path in enumerate(paths)}
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for edge in graph.edges:
        if edge.kind in LINKS and edge.source in places and edge.target in places:
            weights[places[edge.source], places[edge.target]] += edge.weight
    ordered = sorted(weights)
    sources = np.array([source for source, _ in ordered], dtype=np.int64)
    targets = np.array([target for _, target in ordered], dtype=np.int64)
    return Edges(sources, targets, np.array([weights[link] for link in ordered], dtype=np.float64))
