"""Paths of files within a source: which are unsafe, which are nobody's document, which a glob means. Pure."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

MOST_CHARACTERS = 4096

_IGNORED = (
    (re.compile(r"(^|/)__MACOSX(/|$)"), "of macOS archives"),
    (re.compile(r"(^|/)\._[^/]*$"), "of macOS"),
    (re.compile(r"(^|/)(\.DS_Store|\.AppleDouble|\.Spotlight-V100|\.Trashes|\.fseventsd)(/|$)"), "of macOS"),
    (re.compile(r"(^|/)(Thumbs\.db|ehthumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information)(/|$)", re.IGNORECASE), "of Windows"),
    (re.compile(r"(^|/)~\$[^/]*$"), "lock of an open Office document"),
    (re.compile(r"(^|/)\.~lock\.[^/]*#$"), "lock of an open LibreOffice document"),
    (re.compile(r"(^|/)\.(git|hg|svn)(/|$)"), "of a version control system"),
)  # fmt: skip


def ignored(path: str) -> str | None:
    """Why a path is nobody's document; None if it may be one."""
    return next((why for pattern, why in _IGNORED if pattern.search(path)), None)


def unsafe(path: str) -> str | None:
    """Why a path, as a source names it, could mean something outside of it; None if it is relative and plain."""
    if not path or len(path) > MOST_CHARACTERS:
        return "it is empty or longer than 4,096 characters"
    if "\0" in path or any("\ud800" <= one <= "\udfff" for one in path):
        return "it has a NUL or is not UTF-8"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "it is absolute"
    if "\\" in path:
        return "it has a backslash, which some systems take for a separator"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "it has an empty part, `.` or `..`"
    return None


def is_glob(text: str) -> bool:
    return any(one in text for one in "*?[")


def matches(path: str, globs: Sequence[str]) -> bool:
    """Whether one of the globs means the path: `*` and `?` stay within a part, `**` is any number of parts. One without `/` means names
    in every folder, one that ends in `/` all below a folder."""
    parts = path.split("/")
    return any(_matches(parts, _patterns(one)) for one in globs)


def _patterns(glob: str) -> list[str]:
    patterns = glob.removeprefix("/").split("/")
    if patterns[-1] == "":
        patterns[-1] = "**"
    return patterns if "/" in glob else ["**", *patterns]


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """All ways through the patterns at once: time goes by their product, however many stars there are."""
    at = _with_skips({0}, patterns)
    for part in parts:
        through = {one for one in at if one < len(patterns) and patterns[one] == "**"}
        through |= {one + 1 for one in at if one < len(patterns) and fnmatchcase(part, patterns[one])}
        at = _with_skips(through, patterns)
    return len(patterns) in at


def _with_skips(at: set[int], patterns: Sequence[str]) -> set[int]:
    skipping = sorted(at)
    for one in skipping:
        if one < len(patterns) and patterns[one] == "**" and one + 1 not in at:
            at.add(one + 1)
            skipping.append(one + 1)
    return at
