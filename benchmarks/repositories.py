"""How good the vectors of files are: `python benchmarks/repositories.py --quality --repositories FOLDER`.

FOLDER holds bare clones of public repositories with their history. Asked are, at an older commit: for each file of a later commit, the
others of that commit (co-change); links that were left out of the graph; the test of each file, by name. Then, how stable the vectors are.
"""

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
from code_histories import Case, case_of
from code_similarities import SIMILARITIES
from code_stability import stability
from measuring import Targets, table

from ingestion_assets.embedding.structural import Edges

_TEST = re.compile(r"(^|[._/-])(tests?|spec)([._/-]|$)|Tests?(Case)?$|^Test", re.IGNORECASE)
_AFFIX = re.compile(r"^tests?[_.-]?|[_.-]?(tests?|testcase|spec)$", re.IGNORECASE)
_FEWEST_PAIRS = 5
_FIRST = 10
_HELD_OUT, _NEGATIVES = 0.15, 5
MEASURES = ("co-change", "AUC", "AUC of imports", "file to test", "test isolated")
Figures = dict[str, list[dict[str, float]]]  # by similarity, of each repository: measure -> mean over seeds


def main() -> int:
    """Print a row for each similarity, by repository and in the mean, and a verdict on each target."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--quality", action="store_true", required=True)
    options.add_argument("--repositories", type=Path, required=True, help="folder with bare clones")
    options.add_argument("--only", default="", help="names of repositories, separated by commas")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--cache", type=Path, help="folder that keeps what was parsed and the text vectors")
    given = options.parse_args()
    heads = [head for level in ("*/HEAD", "*/*/HEAD") for head in given.repositories.glob(level)]
    folders = sorted({head.parent for head in heads if (head.parent / "objects").is_dir()})
    wanted = set(filter(None, given.only.split(",")))
    cases: list[Case] = []
    for folder in folders:
        if wanted and not wanted & {folder.name, folder.parent.name}:
            continue
        case = case_of(folder, cache=given.cache, with_text=True)
        if case is None:
            print(f"{folder}: too few later commits that change 2 to 10 files; left out")
            continue
        cases.append(case)
    figures = {
        name: [_averaged([measured(case, name, seed) for seed in range(given.seeds)]) for case in cases]
        for name in SIMILARITIES
    }
    _print(cases, figures)
    targets = Targets()
    _judge(targets, cases, figures)
    stability(targets, cases)
    return targets.verdict()


def measured(case: Case, name: str, seed: int) -> dict[str, float]:
    """All measures of one repository with one seed."""
    similarity, chance = SIMILARITIES[name], np.random.default_rng(seed)
    scores = _without_ties(similarity(case, case.edges, seed), chance)
    found = {
        "co-change": fmean(fmean(_first(scores, file, files) for file in files) for files in case.commits)
    }
    graph, asked, others = held_out(case.edges, len(case.paths), chance)
    blind = _without_ties(similarity(case, graph, seed), chance)
    found["AUC"] = _area(blind, asked, others)
    imports = np.array([tuple(pair) in case.imports for pair in asked.tolist()])
    if imports.any():
        found["AUC of imports"] = _area(blind, asked[imports], others)
    pairs = tests_of(case.paths)
    if len(pairs) >= _FEWEST_PAIRS:
        found["file to test"] = fmean(_first(scores, file, [test]) for file, test in pairs)
        alone = _without(case.edges, [test for _, test in pairs])
        lonely = _without_ties(similarity(case, alone, seed), chance)
        found["test isolated"] = fmean(_first(lonely, file, [test]) for file, test in pairs)
    return found


def _without_ties(scores: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Equal scores in random order, and no file before itself."""
    scores = np.round(scores, 9) + 1e-10 * chance.random(scores.shape)
    np.fill_diagonal(scores, -np.inf)
    return scores


def _first(scores: np.ndarray, query: int, relevant: list[int]) -> float:
    """The reciprocal rank of the first relevant file, where it is among the first ten."""
    best = max(scores[query, file] for file in relevant if file != query)
    rank = 1 + int((scores[query] > best).sum())
    return 1.0 / rank if rank <= _FIRST else 0.0


def held_out(edges: Edges, files: int, chance: np.random.Generator) -> tuple[Edges, np.ndarray, np.ndarray]:
    """The graph without some linked pairs, whatever links them; these pairs; and pairs that nothing links, more of them."""
    keys = np.minimum(edges.sources, edges.targets) * files + np.maximum(edges.sources, edges.targets)
    linked = np.unique(keys[np.asarray(edges.sources) != np.asarray(edges.targets)])
    asked = chance.choice(linked, max(1, int(len(linked) * _HELD_OUT)), replace=False)
    drawn = chance.integers(0, files, (len(asked) * _NEGATIVES * 4, 2))
    apart = (drawn[:, 0] != drawn[:, 1]) & ~np.isin(drawn.min(1) * files + drawn.max(1), linked)
    graph = Edges(*(np.asarray(column)[~np.isin(keys, asked)] for column in edges))
    return graph, np.stack([asked // files, asked % files], 1), drawn[apart][: len(asked) * _NEGATIVES]


def _area(scores: np.ndarray, linked: np.ndarray, others: np.ndarray) -> float:
    """The chance that a linked pair is more alike than another."""
    others_scores = np.sort(scores[others[:, 0], others[:, 1]])
    return float(np.searchsorted(others_scores, scores[linked[:, 0], linked[:, 1]]).mean() / len(others))


def tests_of(paths: list[bytes]) -> list[tuple[int, int]]:
    """Pairs of a file and its test, by their names; those whose names are not unique are left out."""
    files, tests = defaultdict(list), defaultdict(list)
    for number, path in enumerate(paths):
        stem = path.decode("utf-8", "replace").rpartition("/")[2].rpartition(".")[0]
        bare = _AFFIX.sub("", stem).lower()
        (tests if _TEST.search(stem) and bare else files)[bare].append(number)
    return [
        (files[bare][0], found[0])
        for bare, found in sorted(tests.items())
        if len(found) == 1 and len(files.get(bare, ())) == 1
    ]


def _without(edges: Edges, files: list[int]) -> Edges:
    kept = ~(np.isin(edges.sources, files) | np.isin(edges.targets, files))
    return Edges(*(np.asarray(column)[kept] for column in edges))


def _averaged(rows: list[dict[str, float]]) -> dict[str, float]:
    return {measure: fmean(row[measure] for row in rows if measure in row) for measure in MEASURES if any(measure in row for row in rows)}  # fmt: skip


def _mean(figures: Figures, name: str, measure: str) -> float:
    return fmean(row[measure] for row in figures[name] if measure in row)


def _print(cases: list[Case], figures: Figures) -> None:
    counts = [
        (case.name, *(str(number) for number in (
            len(case.paths), len(case.edges.weights), len(case.commits), len(tests_of(case.paths)))))
        for case in cases
    ]  # fmt: skip
    table("Repositories", ("", "files", "links", "later commits", "files with a test"), counts)
    rows = [(name, *(f"{_mean(figures, name, measure):.3f}" for measure in MEASURES)) for name in figures]
    table("Mean over repositories", ("", *MEASURES), rows)
    names = tuple(case.name.rpartition("+")[2][:12] for case in cases)
    for measure in MEASURES:
        each = [(name, *(f"{row[measure]:.3f}" if measure in row else "-" for row in rows)) for name, rows in figures.items()]  # fmt: skip
        table(f"By repository: {measure}", ("", *names), each)


def _judge(targets: Targets, cases: list[Case], figures: Figures) -> None:
    def against(measure: str, other: str) -> float:
        return _mean(figures, "ours", measure) / _mean(figures, other, measure)

    ours = figures["ours"]
    better = sum(
        row["co-change"] > other["co-change"] for row, other in zip(ours, figures["text"], strict=True)
    )
    targets.at_least("co-change, times text", against("co-change", "text"), 1.5)
    targets.at_least("repositories where co-change is better than text's", better, len(cases))
    targets.at_least("co-change, times TF-IDF", against("co-change", "TF-IDF"), 1.0)
    targets.at_least("held-out links, AUC", _mean(figures, "ours", "AUC"), 0.85)
    targets.at_least("held-out links, times TF-IDF", against("AUC", "TF-IDF"), 1.05)
    targets.at_least("held-out links, times node2vec", against("AUC", "node2vec"), 1.0)
    targets.at_least("held-out links, times common neighbours", against("AUC", "common neighbours"), 1.0)
    targets.at_least("file to test, times text", against("file to test", "text"), 1.3)
    targets.at_least(
        "file to test without the links of tests, times text", against("test isolated", "text"), 0.6
    )


if __name__ == "__main__":
    sys.exit(main())
