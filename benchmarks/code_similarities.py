"""The ways to say how alike two files of a repository are: ours, its ablations, and what it must beat. Each gives a square of scores."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from code_histories import Case

from ingestion_assets.embedding import structural, training
from ingestion_assets.embedding.identifiers import parts
from ingestion_assets.embedding.structural import Edges, in_order_of_paths, stable, unit

Similarity = Callable[[Case, Edges, int], np.ndarray]
_NO_EDGES = Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
_WALK, _WALK_WIDTH = 5, 128
_PLAIN_STEPS, _PLAIN_RATE, _PLAIN_NEGATIVES = 100, 1e-2, 5


def cosine(vectors: np.ndarray) -> np.ndarray:
    """Similarity of all files with all."""
    vectors = unit(np.asarray(vectors, dtype=np.float64))
    return vectors @ vectors.T


def random(case: Case, _edges: Edges, seed: int) -> np.ndarray:
    """Chance."""
    return np.random.default_rng(seed).random((len(case.paths),) * 2)


def same_directory(case: Case, _edges: Edges, _seed: int) -> np.ndarray:
    """One where two files lie in the same folder."""
    folders = np.unique([path.rpartition(b"/")[0] for path in case.paths], return_inverse=True)[1]
    return (folders[:, None] == folders[None, :]).astype(float)


def common_neighbours(case: Case, edges: Edges, _seed: int) -> np.ndarray:
    """The number of files that are linked with both."""
    linked = (_adjacency(case, edges) > 0).astype(float)
    return linked @ linked


def text(case: Case, _edges: Edges, _seed: int) -> np.ndarray:
    """The sentence model in bf16: the mean of a file's chunks."""
    assert case.text is not None
    return cosine(case.text)


def tf_idf(case: Case, _edges: Edges, _seed: int) -> np.ndarray:
    """TF-IDF of the parts of identifiers over the repository's full vocabulary."""
    counts = [_parts_of(names) for names in case.identifiers]
    files = Counter(part for count in counts for part in count)
    column = {part: number for number, part in enumerate(sorted(files))}
    table = np.zeros((len(counts), len(column)))
    for row, count in zip(table, counts, strict=True):
        for part, times in count.items():
            row[column[part]] = (1 + np.log(times)) * (1 + np.log((1 + len(counts)) / (1 + files[part])))
    return cosine(table)


def _parts_of(names: Mapping[str, int]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for name, times in names.items():
        for part in parts(name):
            counted[part] += times
    return counted


def node2vec(case: Case, edges: Edges, _seed: int) -> np.ndarray:
    """node2vec with p = q = 1 in its closed form (NetMF, Qiu et al. 2018)."""
    links = _adjacency(case, edges)
    degree = links.sum(1)
    some = np.where(degree > 0, degree, 1)
    power, total = np.eye(len(links)), np.zeros_like(links)
    for _ in range(_WALK):
        power = power @ (links / some[:, None])
        total += power
    left, size, _ = np.linalg.svd(np.log(np.maximum(degree.sum() / _WALK * total / some[None, :], 1.0)))
    return cosine(left[:, :_WALK_WIDTH] * np.sqrt(size[:_WALK_WIDTH]))


def _adjacency(case: Case, edges: Edges) -> np.ndarray:
    links = np.zeros((len(case.paths),) * 2)
    np.add.at(links, (edges.sources, edges.targets), edges.weights)
    return links + links.T


def graph_sage(case: Case, edges: Edges, seed: int) -> np.ndarray:
    """GraphSAGE as published: two layers with mean aggregation, trained on this repository's links, nothing residual, nothing masked."""
    import torch  # noqa: PLC0415

    own, ordered, place = in_order_of_paths(case.identifiers, case.paths, edges)
    files = torch.from_numpy(training.condensed(own).astype(np.float32))
    links = torch.zeros(len(files), len(files))
    links[ordered.sources, ordered.targets] = links[ordered.targets, ordered.sources] = 1.0
    mean = links / links.sum(1, keepdim=True).clamp(min=1)
    draw = torch.Generator().manual_seed(seed)
    width = files.shape[1]
    first, second = (
        (torch.randn(2 * width, width, generator=draw) / width**0.5).requires_grad_() for _ in range(2)
    )

    def forward() -> torch.Tensor:
        hidden = torch.relu(torch.cat([files, mean @ files], 1) @ first)
        return torch.nn.functional.normalize(torch.cat([hidden, mean @ hidden], 1) @ second, dim=1)

    optimizer = torch.optim.Adam([first, second], lr=_PLAIN_RATE)
    sources, targets = torch.from_numpy(ordered.sources), torch.from_numpy(ordered.targets)
    for _ in range(_PLAIN_STEPS if len(sources) else 0):
        near = forward()
        wrong = torch.randint(len(files), (len(sources), _PLAIN_NEGATIVES), generator=draw)
        right = (near[sources] * near[targets]).sum(1, keepdim=True) / 0.1
        apart = (near[sources][:, None] * near[wrong]).sum(2) / 0.1
        optimizer.zero_grad()
        (torch.logsumexp(torch.cat([right, apart], 1), 1) - right[:, 0]).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return cosine(forward().numpy()[place])


def ours(case: Case, edges: Edges, seed: int) -> np.ndarray:
    """Both parts of the vector."""
    found = training.trained(case.identifiers, case.paths, edges, seed)
    return cosine(training.joined(stable(case.identifiers, case.paths, edges), found.vectors))


def without_training(case: Case, edges: Edges, _seed: int) -> np.ndarray:
    """The stable part."""
    return cosine(stable(case.identifiers, case.paths, edges))


def without_edges(case: Case, _edges: Edges, _seed: int) -> np.ndarray:
    """The stable part of files that nothing links; there is nothing to train on."""
    return cosine(stable(case.identifiers, case.paths, _NO_EDGES))


def without_identifiers(case: Case, edges: Edges, seed: int) -> np.ndarray:
    """Both parts of files that name nothing, and whose paths say nothing."""
    nothing = [Counter[str]()] * len(case.paths)
    numbers = [b"%d" % number for number in range(len(case.paths))]
    found = training.trained(nothing, numbers, edges, seed)
    return cosine(training.joined(structural.stable(nothing, numbers, edges), found.vectors))


SIMILARITIES: dict[str, Similarity] = {
    "random": random,
    "same directory": same_directory,
    "common neighbours": common_neighbours,
    "text": text,
    "TF-IDF": tf_idf,
    "node2vec": node2vec,
    "GraphSAGE plain": graph_sage,
    "ours": ours,
    "ours without edges": without_edges,
    "ours without identifiers": without_identifiers,
    "ours without training": without_training,
}
