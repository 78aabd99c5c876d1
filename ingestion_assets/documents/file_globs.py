"""Globs of paths: what is one, and which paths it means. Pure."""

import re
from collections.abc import Iterable

MOST_CHARACTERS = 1000
"""Of a glob of a request: to compile one takes time by its length."""
_ANY_FOLDERS = r"(?:[^/]*/)*?"


def is_glob(text: str) -> bool:
    """Whether a text that is no file's id can mean several: it has `*` or `?`, or ends in `/`."""
    return "*" in text or "?" in text or text.endswith("/")


class Glob:
    """`*` and `?` stay within a part, `**` is any number of parts. One without `/` means names in every folder, one that ends in `/` all
    below a folder. No other sign is special."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._means = re.compile(_expression(text)).match

    def matches(self, path: str) -> bool:
        return self._means(path) is not None


class Globs:
    """Several, compiled once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._globs = [Glob(one) for one in dict.fromkeys(texts)]

    def __bool__(self) -> bool:
        return bool(self._globs)

    def match(self, path: str) -> bool:
        """Whether one of them means the path."""
        return any(one.matches(path) for one in self._globs)


def _expression(glob: str) -> str:
    """As a regular expression. What stands between two stars is matched where it first can be and never tried elsewhere: a later place
    leaves less for what follows. So time goes by the product of the lengths, however many stars there are."""
    parts = glob.removeprefix("/").split("/")
    if parts[-1] == "":
        parts[-1] = "**"
    if "/" not in glob:
        parts.insert(0, "**")
    if parts[-1] == "**":
        parts.append("*")  # a file below, not the folder's own name
    first, *others = _runs(parts)
    if not others:
        return f"{'/'.join(map(_part, first))}\\Z"
    start = "".join(f"{_part(one)}/" for one in first)
    between = "".join(f"(?>{_ANY_FOLDERS}{''.join(f'{_part(one)}/' for one in run)})" for run in others[:-1])
    return f"{start}{between}{_ANY_FOLDERS}{'/'.join(map(_part, others[-1]))}\\Z"


def _runs(parts: Iterable[str]) -> list[list[str]]:
    """The parts between `**`; the first run is what the path begins with."""
    runs: list[list[str]] = [[]]
    for one in parts:
        if one != "**":
            runs[-1].append(one)
        elif len(runs) == 1 or runs[-1]:
            runs.append([])
    return runs


def _part(pattern: str) -> str:
    first, *others = [
        "".join("[^/]" if sign == "?" else re.escape(sign) for sign in piece)
        for piece in re.split(r"\*+", pattern)
    ]
    if not others:
        return first
    between = "".join(f"(?>[^/]*?{one})" for one in others[:-1])
    return f"{first}{between}[^/]*{others[-1]}"
