"""A made-up repository: groups of files that name the same things and link to each other, and all of them name some common ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ingestion_assets.embedding.structural import Edges

_SYLLABLES = ["ka", "lo", "mi", "ne", "pu", "ra", "so", "ti", "vu", "ze"]


@dataclass(frozen=True, slots=True)
class Code:
    """Its files and the links between them."""

    identifiers: list[Mapping[str, int]]
    paths: list[bytes]
    edges: Edges


def made_up(groups: int = 4, files: int = 12, links: int = 3, seed: int = 0) -> Code:
    """`groups` times `files` files; each links to `links` others of its group."""
    chance = np.random.default_rng(seed)
    words = ["".join(chance.choice(_SYLLABLES, 4)) for _ in range(groups * 40)]
    identifiers: list[Mapping[str, int]] = []
    paths, pairs = [], []
    for group in range(groups):
        own = words[group * 40 : group * 40 + 40]
        for file in range(files):
            named = [*chance.choice(own, 8), *chance.choice(words, 6)]
            identifiers.append(
                {f"{one}_{other}": int(chance.integers(1, 5)) for one, other in pairwise(named)}
            )
            paths.append(b"group%d/file%02d.py" % (group, file))
            others = [other for other in range(files) if other != file]
            pairs += [
                (group * files + file, group * files + int(other))
                for other in chance.choice(others, links, replace=False)
            ]
    sources, targets = (np.array(ends, dtype=np.int64) for ends in zip(*pairs, strict=True))
    return Code(identifiers, paths, Edges(sources, targets, np.ones(len(pairs))))
