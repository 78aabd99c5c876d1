"""How good the vectors of files are: `python benchmarks/repositories.py --quality --repositories FOLDER`.

FOLDER holds bare clones of public repositories with their history; they are read and never changed. Each is indexed at an older
commit. Asked are, for each file of a later commit, the others of that commit (co-change); the edges left out of the graph; and the
test of each file, by name. Identifiers and edges are taken by regular expressions here, alike for every method.
"""

import argparse
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ingestion_assets.embedding import structural, training

_CODE = re.compile(rb"\.(py|js|jsx|mjs|cjs|ts|tsx|go|rs|java|php|c|h|cc|cpp|hpp|rb|cs|kt|sh)$")
_LEFT_OUT = re.compile(rb"(^|/)(dist|vendor|node_modules|third_party)/|\.min\.|\.d\.ts$")
_NAME = re.compile(r"[^\W\d]\w+")
_DEFINED = re.compile(
    r"\b(?:def|class|func|function|fn|struct|interface|type|trait|enum|const|let|var|mod|macro_rules!)\s+(?:\([^)]*\)\s*)?([^\W\d]\w+)"
)
_METHOD = re.compile(
    r"^\s*(?:(?:public|private|protected|static|final|abstract|async|export)\s+)+[\w<>\[\], .]*?([^\W\d]\w+)\s*\(",
    re.MULTILINE,
)
_IMPORTED = re.compile(
    r"^\s*(?:import|from|use|pub use|mod|pub mod|require|#include|export .* from|.*\brequire\()(.*)$",
    re.MULTILINE,
)
_TEST = re.compile(r"(^|[._/-])(tests?|spec)([._/-]|$)|Test(Case)?$|^Test", re.IGNORECASE)
_DEFINERS = 5  # a name that more files define says little of any of them
_COMMITS, _SHARE = 300, 0.4
_FILES = range(2, 11)


class Case(NamedTuple):
    """A repository at an older commit, and what came later."""

    name: str
    paths: list[bytes]
    contents: list[str]
    identifiers: list[Counter]
    edges: structural.Edges
    commits: list[list[int]]


def main() -> None:
    """Print a row for each method, by repository and in the mean."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quality", action="store_true", required=True)
    options.add_argument("--repositories", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument(
        "--without-text", action="store_true", help="leave out the text model, which takes most of the time"
    )
    given = options.parse_args()
    folders = sorted(
        {head.parent for head in given.repositories.glob("**/HEAD") if (head.parent / "objects").is_dir()}
    )
    cases = [case for folder in folders if (case := read(folder)) is not None]
    for case in cases:
        print(
            f"{case.name:24} {len(case.paths):4} files {len(case.edges.sources):5} edges {len(case.commits):4} later commits"
        )
    for seed in range(given.seeds):
        report(cases, seed, text=not given.without_text)


def git(folder: Path, *arguments: str, given: bytes | None = None) -> bytes:
    """What git says of a bare repository; nothing in it is run."""
    command = [
        "git",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "safe.directory=*",
        "--git-dir",
        str(folder),
        *arguments,
    ]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def read(folder: Path) -> Case | None:
    """The case of a repository; none where too few later commits change several files."""
    log = git(folder, "log", "--no-merges", "--no-renames", "--name-only", "-z", "--format=%x01%H", "HEAD")
    commits = []
    for entry in log.split(b"\x01")[1:]:
        commit, _, names = entry.partition(b"\0")
        changed = [name for name in names.lstrip(b"\n").split(b"\0") if _is_code(name)]
        if len(changed) in _FILES:
            commits.append((commit.strip().decode(), changed))
    later = min(int(len(commits) * _SHARE), _COMMITS)
    if later < 20:
        print(f"{folder}: {later} later commits change 2 to 10 files, too few to ask with; left out")
        return None
    tree = git(folder, "ls-tree", "-r", "-z", commits[later][0])
    found = {}
    for line in tree.split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        mode, kind, blob = facts.split()
        if kind == b"blob" and mode != b"120000" and _is_code(path):
            found[path] = blob
    paths = sorted(found)
    contents = _contents(folder, [found[path] for path in paths])
    number = {path: index for index, path in enumerate(paths)}
    asked = [[number[path] for path in changed if path in number] for _, changed in commits[:later]]
    identifiers = [Counter(_NAME.findall(content)) for content in contents]
    name = folder.parent.name if folder.name in ("repo", ".git") else folder.name
    return Case(
        name,
        paths,
        contents,
        identifiers,
        edges_of(paths, contents),
        [files for files in asked if len(files) > 1],
    )


def _is_code(path: bytes) -> bool:
    return bool(_CODE.search(path)) and not _LEFT_OUT.search(path)


def _contents(folder: Path, blobs: list[bytes]) -> list[str]:
    out, contents, at = git(folder, "cat-file", "--batch", given=b"\n".join(blobs) + b"\n"), [], 0
    for _ in blobs:
        line = out.index(b"\n", at)
        size = int(out[at:line].split()[2])
        contents.append(out[line + 1 : line + 1 + min(size, 1_000_000)].decode("utf-8", "replace"))
        at = line + 2 + size
    return contents


def edges_of(paths: list[bytes], contents: list[str]) -> structural.Edges:
    """Imports by the name of the file, and uses of names that few files define."""
    stems, definers = defaultdict(set), defaultdict(set)
    for index, (path, content) in enumerate(zip(paths, contents, strict=True)):
        ending = path.rpartition(b".")[2][:2]
        place = path.decode("utf-8", "replace").rpartition(".")[0].split("/")
        stems[
            ending, place[-2] if place[-1] in ("__init__", "index", "mod") and len(place) > 1 else place[-1]
        ].add(index)
        for name in {*_DEFINED.findall(content), *_METHOD.findall(content)}:
            if len(name) > 3:
                definers[ending, name].add(index)
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for index, (path, content) in enumerate(zip(paths, contents, strict=True)):
        ending = path.rpartition(b".")[2][:2]
        for line in _IMPORTED.findall(content):
            for word in set(_NAME.findall(line)) | set(re.findall(r"[\w-]+", line)):
                targets = stems.get((ending, word), ())
                for target in targets if len(targets) <= 3 else ():
                    weights[index, target] = max(weights[index, target], 1.0)
        for name in set(_NAME.findall(content)):
            targets = definers.get((ending, name), ())
            for target in targets if len(targets) <= _DEFINERS and index not in targets else ():
                weights[index, target] += 1.0 / len(targets)
    pairs = sorted(pair for pair in weights if pair[0] != pair[1])
    return structural.Edges(
        np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64),
        np.array([min(weights[pair], 3.0) for pair in pairs]),
    )  # fmt: skip


def cosine(vectors: np.ndarray) -> np.ndarray:
    """Similarity of all files with all."""
    vectors = structural.unit(np.asarray(vectors, dtype=np.float64))
    return vectors @ vectors.T


def ranks(scores: np.ndarray, query: int, relevant: set[int], chance: np.random.Generator) -> float:
    """The reciprocal rank of the first relevant file within ten, ties in random order."""
    row = scores[query].copy()
    row[query] = -np.inf
    order = np.lexsort((chance.random(len(row)), -np.round(row, 12)))[:10]
    return next((1.0 / (place + 1) for place, file in enumerate(order) if file in relevant), 0.0)


def co_change(case: Case, scores: np.ndarray, seed: int) -> float:
    """MRR@10, mean over commits."""
    chance = np.random.default_rng(seed)
    return float(
        np.mean(
            [
                np.mean([ranks(scores, file, set(files) - {file}, chance) for file in files])
                for files in case.commits
            ]
        )
    )


def tests_of(case: Case) -> list[tuple[int, int]]:
    """Pairs of a file and its test, by name."""
    names = [path.decode("utf-8", "replace").rpartition("/")[2].partition(".")[0] for path in case.paths]
    whole = [path.decode("utf-8", "replace").rpartition("/")[2].rpartition(".")[0] for path in case.paths]
    tests, files = defaultdict(list), defaultdict(list)
    for index, name in enumerate(whole):
        bare = re.sub(r"^tests?[_.-]?|[_.-]?(tests?|spec)$", "", name, flags=re.IGNORECASE).lower()
        (tests if _TEST.search(name) else files)[bare].append(index)
    del names
    return [
        (files[bare][0], found[0])
        for bare, found in tests.items()
        if len(found) == 1 and len(files.get(bare, ())) == 1
    ]


def file_to_test(pairs: list[tuple[int, int]], scores: np.ndarray, seed: int) -> float:
    """MRR of each file's test."""
    chance = np.random.default_rng(seed)
    return float(np.mean([ranks(scores, file, {test}, chance) for file, test in pairs]))


def without(edges: structural.Edges, files: set[int]) -> structural.Edges:
    """The edges that touch none of the files."""
    kept = ~(np.isin(edges.sources, list(files)) | np.isin(edges.targets, list(files)))
    return structural.Edges(*(np.asarray(column)[kept] for column in edges))


def held_out(
    edges: structural.Edges, files: int, seed: int
) -> tuple[structural.Edges, np.ndarray, np.ndarray]:
    """The graph without 15 % of its pairs, those pairs, and five pairs without an edge for each."""
    chance = np.random.default_rng(seed)
    low, high = np.minimum(edges.sources, edges.targets), np.maximum(edges.sources, edges.targets)
    keys = low * files + high
    pairs = np.unique(keys)
    asked = chance.choice(pairs, max(1, int(len(pairs) * 0.15)), replace=False)
    kept = ~np.isin(keys, asked)
    drawn = chance.integers(0, files, (len(asked) * 10, 2))
    drawn = drawn[(drawn[:, 0] != drawn[:, 1]) & ~np.isin(drawn.min(1) * files + drawn.max(1), pairs)][
        : len(asked) * 5
    ]
    graph = structural.Edges(*(np.asarray(column)[kept] for column in edges))
    return graph, np.stack([asked // files, asked % files], 1), drawn


def auc(scores: np.ndarray, edges: np.ndarray, others: np.ndarray, seed: int) -> float:
    """The chance that an edge scores above a pair without one."""
    yes, no = scores[edges[:, 0], edges[:, 1]], scores[others[:, 0], others[:, 1]]
    noise = np.random.default_rng(seed).random(len(yes) + len(no))
    place = np.empty(len(noise))
    place[np.lexsort((noise, np.round(np.concatenate([yes, no]), 12)))] = np.arange(1, len(noise) + 1)
    return float((place[: len(yes)].sum() - len(yes) * (len(yes) + 1) / 2) / (len(yes) * len(no)))


Method = Callable[[Case, structural.Edges, int], np.ndarray]
_NO_EDGES = structural.Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def by_chance(case: Case, _edges: structural.Edges, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(case.paths),) * 2)


def by_folder(case: Case, _edges: structural.Edges, _seed: int) -> np.ndarray:
    folders = np.unique([path.rpartition(b"/")[0] for path in case.paths], return_inverse=True)[1]
    return (folders[:, None] == folders[None, :]).astype(float)


def by_common_neighbours(case: Case, edges: structural.Edges, _seed: int) -> np.ndarray:
    linked = adjacency(case, edges) > 0
    return (linked.astype(float) @ linked).astype(float)


def by_terms(case: Case, _edges: structural.Edges, _seed: int) -> np.ndarray:
    return cosine(terms(case))


def terms(case: Case) -> np.ndarray:
    """TF-IDF of identifier parts over the full vocabulary."""
    counts = [structural._counted(names) for names in case.identifiers]
    seen = Counter(part for count in counts for part in count)
    column = {part: index for index, part in enumerate(sorted(seen))}
    table = np.zeros((len(counts), len(column)))
    for row, count in zip(table, counts, strict=True):
        for part, times in count.items():
            row[column[part]] = (1 + np.log(times)) * (1 + np.log((1 + len(counts)) / (1 + seen[part])))
    return table


def by_walks(case: Case, edges: structural.Edges, _seed: int) -> np.ndarray:
    """node2vec with p = q = 1 in its closed form (NetMF, window 5, 128 columns)."""
    links = adjacency(case, edges)
    degree = links.sum(1)
    step = links / np.where(degree > 0, degree, 1)[:, None]
    power, total = np.eye(len(links)), np.zeros_like(links)
    for _ in range(5):
        power = power @ step
        total += power
    matrix = np.log(np.maximum(degree.sum() / 5 * total / np.where(degree > 0, degree, 1)[None, :], 1.0))
    left, size, _ = np.linalg.svd(matrix)
    return cosine(left[:, :128] * np.sqrt(size[:128]))


def adjacency(case: Case, edges: structural.Edges) -> np.ndarray:
    links = np.zeros((len(case.paths),) * 2)
    np.add.at(links, (edges.sources, edges.targets), edges.weights)
    return links + links.T


def by_stable(case: Case, edges: structural.Edges, _seed: int) -> np.ndarray:
    return cosine(structural.stable(case.identifiers, case.paths, edges))


def by_both(case: Case, edges: structural.Edges, seed: int) -> np.ndarray:
    found = training.trained(case.identifiers, case.paths, edges, seed)
    return cosine(training.joined(structural.stable(case.identifiers, case.paths, edges), found.vectors))


def by_sage(case: Case, edges: structural.Edges, seed: int) -> np.ndarray:
    """The trained network alone, whether it helped or not."""
    own, ordered, place = structural.in_order_of_paths(case.identifiers, case.paths, edges)
    return cosine(training.fit(own, ordered, seed)[place])


def by_words_alone(case: Case, _edges: structural.Edges, _seed: int) -> np.ndarray:
    return cosine(structural.stable(case.identifiers, case.paths, _NO_EDGES))


def by_edges_alone(case: Case, edges: structural.Edges, _seed: int) -> np.ndarray:
    return cosine(structural.stable([Counter()] * len(case.paths), case.paths, edges))


def by_text(case: Case, _edges: structural.Edges, _seed: int) -> np.ndarray:
    return _texts(case)


_TEXTS: dict[str, np.ndarray] = {}


def _texts(case: Case) -> np.ndarray:
    """The mean of the vectors of 25-line chunks; the same for every seed and graph, and so computed once."""
    if case.name not in _TEXTS:
        from ingestion_assets.embedding.text import TextModel  # noqa: PLC0415 - heavy

        chunks = [(file, chunk) for file, content in enumerate(case.contents) for chunk in _chunks(content)]
        vectors = np.zeros((len(case.paths), 384))
        np.add.at(
            vectors, [file for file, _ in chunks], TextModel.load().encode([chunk for _, chunk in chunks])
        )
        _TEXTS[case.name] = cosine(vectors)
    return _TEXTS[case.name]


def _chunks(content: str) -> list[str]:
    lines = content.splitlines()
    return ["\n".join(lines[start : start + 25])[:2000] for start in range(0, min(len(lines), 500), 25)] or [
        " "
    ]


METHODS: dict[str, Method] = {
    "random": by_chance,
    "same directory": by_folder,
    "common neighbours": by_common_neighbours,
    "text": by_text,
    "TF-IDF": by_terms,
    "node2vec": by_walks,
    "GraphSAGE alone": by_sage,
    "ours": by_both,
    "ours without training": by_stable,
    "ours without edges": by_words_alone,
    "ours without identifiers": by_edges_alone,
}


def report(cases: list[Case], seed: int, *, text: bool) -> None:
    """Print all figures of one seed."""
    print(f"\nseed {seed}{'':24}co-change      AUC  file->test  isolated   seconds   co-change by repository")
    for name, method in METHODS.items():
        if name == "text" and not text:
            continue
        began, rows = time.perf_counter(), []
        for case in cases:
            graph, edges, others = held_out(case.edges, len(case.paths), seed)
            scores, pairs = method(case, case.edges, seed), tests_of(case)
            lonely = (
                method(case, without(case.edges, {test for _, test in pairs}), seed)
                if len(pairs) >= 5
                else None
            )
            rows.append((
                co_change(case, scores, seed),
                auc(method(case, graph, seed), edges, others, seed),
                file_to_test(pairs, scores, seed) if len(pairs) >= 5 else np.nan,
                file_to_test(pairs, lonely, seed) if lonely is not None else np.nan,
            ))  # fmt: skip
        mean = np.nanmean(np.array(rows), axis=0)
        each = " ".join(f"{row[0]:.3f}" for row in rows)
        print(
            f"{name:32}{mean[0]:8.3f} {mean[1]:8.3f}  {mean[2]:10.3f}  {mean[3]:8.3f}  {time.perf_counter() - began:8.1f}   {each}"
        )


if __name__ == "__main__":
    main()
