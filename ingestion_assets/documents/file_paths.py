"""Paths of files within a source: which are unsafe, which are nobody's document, how long ones are shown. Pure."""

import hashlib
import re

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


def shown(path: str) -> str:
    """A path as text that can be stored and told from others."""
    return bounded(path.encode(errors="backslashreplace").decode().replace("\0", "\ufffd"))


def bounded(path: str) -> str:
    """A path, or of one that is longer than any may be its beginning and its end, and what tells it from others."""
    if len(path) <= MOST_CHARACTERS:
        return path
    digest = hashlib.blake2b(path.encode(errors="backslashreplace"), digest_size=8).hexdigest()
    return f"{path[:3000]}…{digest}…{path[-1000:]}"
