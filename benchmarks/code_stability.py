"""Whether vectors stay where they are: the same twice, in any order, near after an edit, and near in another repository."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from code_histories import Case
from measuring import Targets, table

from ingestion_assets.embedding import training
from ingestion_assets.embedding.structural import Edges, stable
from ingestion_assets.repositories import graph
from ingestion_assets.repositories.embedding_structure import links

_EDITS, _COPIES = 10, 12  # of each repository
_MIXED = 0.3  # of the other file's words go into an edited one
_FEWEST_NAMES = 10  # in a file that is looked for in another repository
_NEAREST = 5


def stability(targets: Targets, cases: Sequence[Case]) -> None:
    """Print the figures and judge them."""
    targets.at_least("repositories with the same bytes in two runs", sum(map(_twice, cases)), len(cases))
    targets.at_most("difference by another order of files, times 1e-6", max(map(_reordered, cases)) / 1e-6, 1)
    near, far = (np.concatenate(some) for some in zip(*(_edited(case) for case in cases), strict=True))
    targets.at_least(
        "other files above cosine 0.99 after an edit", 100 * float((near > 0.99).mean()), 98, " %"
    )
    targets.at_least(
        "lowest cosine more than two links from an edit, times 1000", 1000 * float(far.min()), 999
    )
    lengths = np.concatenate([_lengths_with_odd_files(case) for case in cases])
    targets.at_most("difference from length one, empty and isolated files too, times 1e-6", float(np.abs(lengths - 1).max()) / 1e-6, 1)  # fmt: skip
    ranks = np.array(_copied(cases))
    share = 100 * float((ranks <= _NEAREST).mean())
    targets.at_least(f"of {len(ranks)} files the copy in another repository is among the five nearest", share, 90, " %")  # fmt: skip
    rows = [
        ("lowest cosine of another file after an edit", f"{near.min():.4f}"),
        ("files more than two links away that moved at all", f"{(far < 1 - 1e-6).mean():.1%}"),
        ("median rank of a file's copy", f"{np.median(ranks):g}"),
    ]
    table("Stability", ("", ""), rows)


def _vectors(case: Case) -> np.ndarray:
    return stable(case.identifiers, case.paths, case.edges)


def _twice(case: Case) -> bool:
    def run() -> bytes:
        return _vectors(case).tobytes() + training.trained(case.identifiers, case.paths, case.edges, 7).vectors.tobytes()  # fmt: skip

    return run() == run()


def _reordered(case: Case) -> float:
    order = np.random.default_rng(1).permutation(len(case.paths))
    place = np.argsort(order)
    edges = Edges(place[case.edges.sources], place[case.edges.targets], case.edges.weights)
    moved = stable([case.identifiers[number] for number in order], [case.paths[number] for number in order], edges)  # fmt: skip
    return float(np.abs(moved[place] - _vectors(case)).max())


def _edited(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all other files, and of those more than two links away, when one file changes its words and two of its links."""
    chance, before = np.random.default_rng(2), _vectors(case)
    files, near, far = len(case.paths), [], []
    for edited in chance.choice(files, min(_EDITS, files), replace=False):
        identifiers = case.identifiers
        identifiers[edited] = _mixed(identifiers[edited], identifiers[chance.integers(files)], chance)
        edges = _relinked(case.edges, int(edited), int(chance.integers(files)))
        cosines = (stable(identifiers, case.paths, edges) * before).sum(1)
        others = np.arange(files) != edited
        reached = _reached(case.edges, edited, files) | _reached(edges, edited, files)
        near.append(cosines[others])
        far.append(cosines[others & ~reached])
    return np.concatenate(near), np.concatenate(far)


def _mixed(own: Mapping[str, int], other: Mapping[str, int], chance: np.random.Generator) -> Counter[str]:
    mixed = Counter({name: times for name, times in own.items() if chance.random() > _MIXED})
    return mixed + Counter({name: times for name, times in other.items() if chance.random() < _MIXED})


def _relinked(edges: Edges, file: int, other: int) -> Edges:
    """The edges with the file's first one gone and a new one."""
    kept = np.ones(len(edges.weights), dtype=bool)
    kept[np.flatnonzero((edges.sources == file) | (edges.targets == file))[:1]] = False
    new = (np.array([file]), np.array([other]), np.array([1.0]))
    return Edges(*(np.concatenate([np.asarray(column)[kept], added]) for column, added in zip(edges, new, strict=True)))  # fmt: skip


def _reached(edges: Edges, file: int, files: int) -> np.ndarray:
    """Which files are at most two links away."""
    reached = np.zeros(files, dtype=bool)
    reached[file] = True
    for _ in range(2):
        out, back = reached[edges.sources], reached[edges.targets]
        reached[np.asarray(edges.targets)[out]] = True
        reached[np.asarray(edges.sources)[back]] = True
    return reached


def _lengths_with_odd_files(case: Case) -> np.ndarray:
    """Lengths with two empty files and one without links or words; NaN where a vector is not finite."""
    odd: list[Mapping[str, int]] = [{}, {}, {"x": 1}]
    vectors = stable([*case.identifiers, *odd], [*case.paths, b"empty.py", b"0/-", b"isolated.py"], case.edges)  # fmt: skip
    return np.linalg.norm(vectors.astype(np.float64), axis=1)


def _copied(cases: Sequence[Case]) -> list[int]:
    """The ranks, over all repositories, of copies that other repositories have of a file."""
    chance, ranks = np.random.default_rng(3), list[int]()
    whole = [_vectors(case) for case in cases]
    for at, case in enumerate(cases):
        host = (at + 1) % len(cases)
        named = [number for number, names in enumerate(case.identifiers) if len(names) >= _FEWEST_NAMES]
        chosen = chance.choice(named, min(_COPIES, len(named)), replace=False)
        parsed = dict(cases[host].parsed)
        copies = [b"copied/%d/%s" % (number, case.paths[number].rpartition(b"/")[2]) for number in chosen]
        for copy, number in zip(copies, chosen, strict=True):
            parsed[copy] = msgspec.structs.replace(case.parsed[case.paths[number]], path=copy)
        paths = sorted(parsed)
        edges = links(graph.build(parsed, cases[host].manifests), paths)
        vectors = stable([parsed[path].identifiers for path in paths], paths, edges)
        rest = [one for number, one in enumerate(whole) if number != host] + [vectors]
        for copy, number in zip(copies, chosen, strict=True):
            asked = whole[at][number]
            nearer = sum(int((one @ asked > vectors[paths.index(copy)] @ asked).sum()) for one in rest)
            ranks.append(nearer)  # the file itself is nearer: it takes the place of the copy in this count
    return ranks
