"""Made-up documents for benchmarks of the documents flow: prose whose words are as frequent as in a language (Zipf)."""

import itertools
import random
from pathlib import Path

_FIRST = ["ba", "ko", "li", "mu", "ne", "sa", "ti", "vo", "ra", "du"]
_LAST = [
    "rin",
    "tal",
    "mek",
    "son",
    "vis",
    "lor",
    "pan",
    "dex",
    "gul",
    "hem",
    "jot",
    "kur",
    "nas",
    "por",
    "quil",
    "rus",
    "sem",
    "tur",
    "wal",
    "zed",
]
WORDS = ["".join(parts) for parts in itertools.product(_FIRST, _LAST, _LAST)]
OFTEN = [1 / place for place in range(1, len(WORDS) + 1)]


def prose(chance: random.Random, paragraphs: int) -> list[str]:
    """Paragraphs of about 1,000 characters, no two alike."""
    return [" ".join(chance.choices(WORDS, OFTEN, k=130)) + "." for _ in range(paragraphs)]


def written(folder: Path, number: int, *, seed: int, first: int = 0) -> Path:
    """A folder with so many text files of three paragraphs."""
    chance = random.Random(seed)
    folder.mkdir(exist_ok=True)
    for place in range(first, first + number):
        (folder / f"{place}.txt").write_text("\n\n".join(prose(chance, 3)), encoding="utf-8")
    return folder
