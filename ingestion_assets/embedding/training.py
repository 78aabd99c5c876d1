"""The trained structural vector: a residual GraphSAGE over one repository's own links, on top of what its files name.

Its coordinates mean something within one snapshot only. Whether it helps is measured on edges that neither the graph nor the training
has seen; where it does not, it is zeros and says so. It runs on the CPU in one thread: these graphs are small, a GPU would not give
the same bytes twice. Torch is loaded with the first training, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ingestion_assets.embedding.structural import Edges, in_order_of_paths, propagate, unit

WIDTH = 128
MODEL = f"residual-sage-{WIDTH}-v3"
SHARE = 0.3  # the trained part's weight beside the stable part
_STEPS, _RATE, _DECAY, _HEAT = 60, 2e-3, 1e-3, 0.1
_NEAR = 0.4  # share of the neighbours with which training begins, as in the stable part
_NEGATIVES = 5  # pairs without an edge for each with one
_ASKED = 0.15  # of the edges: held out of all to measure, and hidden from the graph in each step
_FEWEST = 20  # edges; with fewer nothing can be measured


class Trained(NamedTuple):
    """`vectors` are zeros unless `helped`; the areas under the curve are those of held-out edges, None where there are too few."""

    vectors: np.ndarray
    held_out_auc: float | None
    stable_auc: float | None
    helped: bool


def trained(
    identifiers: Sequence[Mapping[str, int]], paths: Sequence[bytes], edges: Edges, seed: int
) -> Trained:
    """Train on the links; `helped` says whether stable and trained together rank held-out edges better than the stable part alone."""
    own, edges, place = in_order_of_paths(identifiers, paths, edges)
    nothing = np.zeros((len(paths), WIDTH), dtype=np.float32)
    edges = _merged(edges, len(paths))
    if len(edges.weights) < _FEWEST:
        return Trained(nothing, None, None, helped=False)
    chance = np.random.default_rng(seed)
    held = np.zeros(len(edges.weights), dtype=bool)
    held[chance.choice(len(held), max(1, int(len(held) * _ASKED)), replace=False)] = True
    others = _unlinked(chance, edges, len(paths), _NEGATIVES * int(held.sum()))
    if not len(others):
        return Trained(nothing, None, None, helped=False)
    columns = [np.asarray(column) for column in edges]
    seen = Edges(*(column[~held] for column in columns))
    stable = propagate(own, seen)
    asked = np.stack([column[held] for column in columns[:2]], axis=1)
    before = area(stable, asked, others)
    after = area(joined(stable, fit(own, seen, seed)), asked, others)
    if after <= before:
        return Trained(nothing, after, before, helped=False)
    return Trained(fit(own, edges, seed)[place].astype(np.float32), after, before, helped=True)


def joined(stable: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Stable and trained columns side by side in their shares."""
    return unit(np.hstack([stable, SHARE * vectors]))


def fit(own: np.ndarray, edges: Edges, seed: int) -> np.ndarray:
    """Unit vectors of (files, WIDTH) in which linked files are near. The edges a step asks for are hidden from its graph."""
    import torch  # noqa: PLC0415 - heavy

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fitted(torch, condensed(own), edges, seed)
    finally:
        torch.set_num_threads(threads)


def _fitted(torch: Any, condensed: np.ndarray, edges: Edges, seed: int) -> np.ndarray:
    draw = torch.Generator().manual_seed(seed % 2**63)
    files = torch.from_numpy(condensed.astype(np.float32))
    sources, targets = torch.from_numpy(edges.sources), torch.from_numpy(edges.targets)
    weights = torch.from_numpy(np.asarray(edges.weights, dtype=np.float32))
    width = files.shape[1]
    inner = (torch.randn(2 * width, width, generator=draw) / (2 * width) ** 0.5).requires_grad_()
    outer = torch.zeros(width, width, requires_grad=True)  # so that training begins with files and neighbours

    def forward(shown: Any) -> Any:
        mean, total = torch.zeros_like(files), torch.zeros(len(files))
        for to, other in ((sources[shown], targets[shown]), (targets[shown], sources[shown])):
            mean = mean.index_add(0, to, weights[shown, None] * files[other])
            total = total.index_add(0, to, weights[shown])
        near = mean / total.clamp(min=1e-9)[:, None]
        both = torch.cat([files, torch.nn.functional.normalize(near, dim=1)], dim=1)
        return torch.nn.functional.normalize(files + _NEAR * near + torch.relu(both @ inner) @ outer, dim=1)

    optimizer = torch.optim.AdamW([inner, outer], lr=_RATE, weight_decay=_DECAY)
    for _ in range(_STEPS):
        asked = torch.rand(len(sources), generator=draw) < _ASKED
        near = forward(~asked)
        ends = torch.stack([sources[asked], targets[asked]], dim=1)
        wrong = torch.randint(len(files), (len(ends) * _NEGATIVES,), generator=draw)
        right = (near[ends[:, 0]] * near[ends[:, 1]]).sum(1) / _HEAT
        apart = (near[ends[:, 0].repeat(_NEGATIVES)] * near[wrong]).sum(1) / _HEAT
        one_of = torch.cat([right[:, None], apart.reshape(_NEGATIVES, -1).T], dim=1)
        if not len(one_of):
            continue
        optimizer.zero_grad()
        (torch.logsumexp(one_of, dim=1) - right).mean().backward()
        optimizer.step()
    with torch.no_grad():
        found = forward(torch.ones(len(sources), dtype=torch.bool)).numpy()
    return np.hstack([found, np.zeros((len(found), WIDTH - width), dtype=np.float32)])


def condensed(own: np.ndarray) -> np.ndarray:
    """The files in the directions in which they differ most, at most WIDTH of them."""
    few = len(own) < own.shape[1]  # the smaller of two matrices with the same directions
    sizes, vectors = np.linalg.eigh(own @ own.T if few else own.T @ own)
    sizes, vectors = sizes[::-1][:WIDTH], vectors[:, ::-1][:, :WIDTH]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return unit(vectors * np.sqrt(np.maximum(sizes, 0.0)) if few else own @ vectors)


def area(vectors: np.ndarray, linked: np.ndarray, others: np.ndarray) -> float:
    """The chance that a linked pair is nearer than another (the area under the ROC curve)."""
    yes, no = ((vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(axis=1) for pairs in (linked, others))
    no = np.sort(no)
    below, upto = np.searchsorted(no, yes, "left"), np.searchsorted(no, yes, "right")
    return float((below + upto).mean() / 2 / len(no))


def _merged(edges: Edges, files: int) -> Edges:
    """Each pair of different files once, in order."""
    low, high = np.minimum(edges.sources, edges.targets), np.maximum(edges.sources, edges.targets)
    kept = low != high
    keys, at = np.unique(low[kept] * files + high[kept], return_inverse=True)
    weights = np.bincount(at, weights=np.asarray(edges.weights)[kept], minlength=len(keys))
    return Edges(keys // max(files, 1), keys % max(files, 1), weights)


def _unlinked(chance: np.random.Generator, edges: Edges, files: int, wanted: int) -> np.ndarray:
    drawn = chance.integers(0, files, (wanted * 4, 2))
    low, high = drawn.min(axis=1), drawn.max(axis=1)
    keys = np.asarray(edges.sources) * files + np.asarray(edges.targets)
    return drawn[(low != high) & ~np.isin(low * files + high, keys)][:wanted]
