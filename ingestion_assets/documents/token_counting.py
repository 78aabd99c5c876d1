"""How many tokens a model makes of a text, told without asking it again for each piece of the text."""

import re
from collections.abc import Callable, Sequence

CountTokens = Callable[[Sequence[str]], Sequence[int]]  # of each text, with what the model adds to it
FULL_WIDTH = "[\u3002\uff01\uff1f]"  # the ends of sentences that no blank follows


class TokenCounter:
    """Tokens of a text as the sum over its words, each counted once."""

    def __init__(self, text: str, count: CountTokens, most: int) -> None:
        bare, spaced, broken = count(["", "a b", "a\nb"])
        self._count, self._added, self._newline = count, bare, max(0, broken - spaced)
        self.most = max(1, most - bare)
        words = set(text.split())
        if re.search(FULL_WIDTH, text):
            words |= set(re.split(rf"(?<={FULL_WIDTH})|\s+", text))
        known = sorted(words)
        self._words = dict(
            zip(known, (tokens - bare for tokens in count([f" {word}" for word in known])), strict=True)
        )

    def tokens(self, text: str) -> int:
        words = text.split()
        try:
            counted = sum(map(self._words.__getitem__, words))
        except KeyError:  # a word that was cut
            unknown = sorted(set(words) - self._words.keys())
            self._words.update(
                zip(
                    unknown,
                    (tokens - self._added for tokens in self._count([f" {word}" for word in unknown])),
                    strict=True,
                )
            )
            counted = sum(map(self._words.__getitem__, words))
        return counted + (self._newline * text.count("\n") if self._newline else 0)

    def exact(self, text: str) -> int:
        return self._count([text])[0] - self._added
