"""How readable a text is: 0 to 1, by its characters and by whether a detector knows its language.

Fonts without a map to Unicode give control and private-use characters, which are counted, or letters shifted by a constant, which
look like text: `py3langid` says "no language" (zxx) of those.
"""

import re
from functools import cache
from typing import Any

NO_LANGUAGE = "zxx"
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufdd0-\ufdef\ufff0-\ufffb\ufffd-\uffff\U000e0000-\U0010ffff\ud800-\udfff]"
)
_LETTER = re.compile(r"[^\W\d_]")
_SAMPLES = 250, 1600  # characters
_FEWEST_LETTERS, _UNKNOWN_FACTOR = 20, 0.3


@cache
def _detector() -> Any:
    import py3langid  # noqa: PLC0415 - loads a model

    return py3langid


def language(text: str) -> str:
    """ISO 639 of what the text is most likely written in; "zxx" for no language, "" for too few letters to tell.

    A page of formulas seems to be no language by its beginning alone, so a longer sample has the last word.
    """
    found = ""
    for length in _SAMPLES:
        sample = " ".join(text[: 3 * length].split())[:length]
        if len(_LETTER.findall(sample)) >= _FEWEST_LETTERS:
            found = _detector().classify(sample)[0]
        if found not in {"", NO_LANGUAGE} or len(text) <= length:
            break
    return found


def shown(text: str) -> int:
    """How many characters are no blanks."""
    return sum(map(len, text.split()))


def readable_share(text: str) -> float:
    """The share of characters, blanks left aside, that are neither control nor private-use nor unassigned nor replacements."""
    count = shown(text)
    return 1 - len(_UNREADABLE.findall(text)) / count if count else 0.0


def score(text: str, *, needs_language: bool) -> tuple[float, str]:
    """Quality and language."""
    found = language(text)
    factor = _UNKNOWN_FACTOR if needs_language and found == NO_LANGUAGE else 1.0
    return max(0.0, readable_share(text)) * factor, found
