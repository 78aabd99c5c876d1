"""Chance, text and time of made-up data. All of it comes from the generator handed in: the same seed gives the same bytes."""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

Line = dict[str, Any]

_PROSE = """the parser keeps each record whole and writes it once so a reader that starts late finds every
line where the index says it is while tests cover retries timeouts and the empty file as well as
naïve café 数据 🚀 <b>bold</b> `code` **note** def main(): return None if err != nil { return err } SELECT count(*)
FROM runs -- done"""
_WORDS = [*_PROSE.split(), "\n"]
FILES = (
    "src/app.py",
    "cmd/main.go",
    "README.md",
    "tests/test_store.py",
    "pkg/$state.v2/index.ts",
    "a.b/c.d.json",
)
_POOL_CHARACTERS = 400_000


@cache
def _text_pool() -> str:
    words = random.Random(20260301)  # noqa: S311
    return " ".join(words.choices(_WORDS, k=_POOL_CHARACTERS // 5))


@dataclass(slots=True, kw_only=True)
class Invention:
    """What is made up as if by a person: `clock` is the time it has come to."""

    rng: random.Random
    clock: datetime

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def text(self, least: int, most: int) -> str:
        """Text of `least` to `most` characters, short ones more often."""
        pool = _text_pool()
        length = int(least * (most / least) ** self.rng.random())
        start = self.rng.randrange(len(pool) - length)
        return pool[start : start + length]

    def body_text(self) -> str:
        """Text of a tool result: most are short, a few are whole files, hardly any an image."""
        roll = self.rng.random()
        if roll < 0.4:
            return self.text(40, 1_500)
        if roll < 0.85:
            return self.text(1_200, 9_000)
        return self.text(7_000, 60_000) if roll < 0.9985 else self.text(100_000, 380_000)

    def tick(self, most_s: float = 8.0) -> str:
        """A moment somewhat later than the last."""
        self.clock += timedelta(milliseconds=self.rng.randint(20, int(most_s * 1000)))
        stamp = self.clock
        if self.rng.random() < 0.03:
            stamp -= timedelta(milliseconds=self.rng.randint(1, 900))  # file order is not time order
        return f"{stamp:%Y-%m-%dT%H:%M:%S}.{stamp.microsecond // 1000:03d}Z"
