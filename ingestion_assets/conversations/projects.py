"""Which project a working directory belongs to, however the directory is spelled. Pure."""

import re
import unicodedata
import uuid
from dataclasses import dataclass

UNKNOWN = "Unknown Project"
_NAMESPACE = uuid.UUID("0d8f4a3c-6b52-5c1e-8d1f-7f2b9a4e6c30")
_WINDOWS = re.compile(r"^(?:[A-Za-z]:[\\/]|[A-Za-z]:$|\\\\)")
_EXTENDED = re.compile(r"^\\\\[?.]\\(?:UNC\\)?(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Project:
    """A project: a stable id made from the path, the path (None when unknown) and its last part as the name."""

    id: uuid.UUID
    path: str | None
    name: str


def project_of(cwd: str | None, *, worktrees: bool = True) -> Project:
    """The project of a session whose first working directory is `cwd`.

    The path up to and including the folder after the first `projects`, else the directory itself; without any, the
    project "Unknown Project". A directory is one however it is spelled: the case of a Windows path, its slashes, doubled and
    trailing ones, `.` and `..`, composed and decomposed letters make no difference (but `/mnt/c/x` is not `C:\\x`: that the two
    are one is known to the machine alone). With `worktrees`, a git worktree in one of the usual places
    (`<repository>/.claude/worktrees/x`, `<repository>/.worktrees/x`, `<repository>.worktrees/x`) belongs to its repository.
    """
    return project_at(None if not cwd else _path_of(cwd, worktrees=worktrees))


def project_at(path: str | None) -> Project:
    """The project with this path, as `project_of` wrote it. The id of a Windows path doesn't depend on the case of its letters."""
    if not path:
        return Project(uuid.uuid5(_NAMESPACE, ""), None, UNKNOWN)
    windows = _is_windows(path)
    parts = [part for part in path.split("\\" if windows else "/") if part]
    identity = path.casefold() if windows else path
    return Project(uuid.uuid5(_NAMESPACE, identity), path, parts[-1] if parts else path)


def _is_windows(path: str) -> bool:
    return _WINDOWS.match(path) is not None


def _path_of(cwd: str, *, worktrees: bool) -> str:
    cwd = unicodedata.normalize("NFC", cwd)
    windows = _is_windows(cwd)
    root, parts = _taken_apart(cwd, windows=windows)
    if worktrees:
        parts = _without_worktree(parts)
    for index, part in enumerate(parts[:-1]):
        if (part.casefold() if windows else part) == "projects":
            parts = parts[: index + 2]
            break
    return (root + ("\\" if windows else "/").join(parts)) or cwd


def _taken_apart(cwd: str, *, windows: bool) -> tuple[str, list[str]]:
    """What the path hangs on (a slash, a drive, a share's backslashes, nothing), and its parts."""
    if windows:
        extended = _EXTENDED.match(cwd)
        if extended:
            cwd = extended["rest"] if _is_windows(extended["rest"]) else "\\\\" + extended["rest"]
        cwd = cwd.replace("/", "\\")
        root, rest = (r"\\", cwd) if cwd.startswith("\\") else (cwd[0].upper() + ":\\", cwd[2:])
    else:
        root, rest = "/" if cwd.startswith("/") else "", cwd
    parts: list[str] = []
    for part in rest.split("\\" if windows else "/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".") and not (part == ".." and root):
            parts.append(part)
    return root, parts


def _without_worktree(parts: list[str]) -> list[str]:
    """The repository's parts where these are those of a worktree, or of a directory within one."""
    for index, part in enumerate(parts[:-1]):
        if part.endswith(".worktrees") and part != ".worktrees":
            return [*parts[:index], part.removesuffix(".worktrees")]
        if index and part == ".worktrees":
            return parts[:index]
        if index > 1 and part == "worktrees" and parts[index - 1] == ".claude":
            return parts[: index - 1]
    return parts
