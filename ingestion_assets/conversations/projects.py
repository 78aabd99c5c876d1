"""Which project a working directory belongs to. Pure."""

import re
import uuid
from dataclasses import dataclass

UNKNOWN = "Unknown Project"
_NAMESPACE = uuid.UUID("0d8f4a3c-6b52-5c1e-8d1f-7f2b9a4e6c30")
_WINDOWS = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\)")


@dataclass(frozen=True, slots=True)
class Project:
    """A project: a stable id made from the path, the path (None when unknown) and its last part as the name."""

    id: uuid.UUID
    path: str | None
    name: str


def project_of(cwd: str | None) -> Project:
    """The project of a session whose first working directory is `cwd`.

    The path up to and including the folder after the first `projects`, else the directory itself; without any, the
    project "Unknown Project". Backslashes separate in Windows paths only.
    """
    return project_at(None if not cwd else _path_of(cwd))


def project_at(path: str | None) -> Project:
    """The project with this path."""
    if not path:
        return Project(uuid.uuid5(_NAMESPACE, ""), None, UNKNOWN)
    parts = [part for part in _separated(path) if part]
    return Project(uuid.uuid5(_NAMESPACE, path), path, parts[-1] if parts else path)


def _separated(path: str) -> list[str]:
    return re.split(r"[\\/]", path) if _WINDOWS.match(path) else path.split("/")


def _path_of(cwd: str) -> str:
    separators = "\\/" if _WINDOWS.match(cwd) else "/"
    end = 0
    after_projects = False
    for part in re.finditer(f"[^{re.escape(separators)}]+", cwd):
        end = part.end()
        if after_projects:
            break
        after_projects = part.group() == "projects"
    return cwd[:end] or cwd
