"""The code of a user's project as it lies on the disk: whether it changed, and forgetting what was imported of it.

A project is a folder. What is hidden in it, a virtual environment, `node_modules` and a stack's home are not of it.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from ingestion_assets.own_modules import OURS

SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".json")
MOST = 20_000
_APART = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages"})
_MARKS = frozenset({"pyvenv.cfg", "supervisord.conf"})
"""Files of a virtual environment and of a stack's home."""

Stamp = frozenset[tuple[str, int, int, int]]


class TooManyFilesError(Exception):
    """A folder is too large to be looked through again and again."""


def stamp(project: Path) -> Stamp:
    """Differs once a file of the project has. Raises `TooManyFilesError`."""
    return frozenset(
        (entry.path, status.st_mtime_ns, status.st_size, status.st_ino)
        for entry in _files(project)
        if (status := _status(entry)) is not None
    )


def _files(project: Path) -> Iterator[os.DirEntry[str]]:
    seen, folders = 0, [str(project)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError:  # gone again
            continue
        seen += len(entries)
        if seen > MOST:
            raise TooManyFilesError(
                f"{project} holds more than {MOST} files and folders, too many to look for changes in"
            )
        if folder != str(project) and any(entry.name in _MARKS for entry in entries):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not _is_apart(entry.name):
                    folders.append(entry.path)
            elif entry.name.endswith(SUFFIXES):
                yield entry


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:  # gone again, or a link to nothing
        return None


def _is_apart(name: str) -> bool:
    return name.startswith(".") or name in _APART


def forget(project: Path) -> dict[str, ModuleType]:
    """Have the project's modules imported anew when they are next asked for. Gives those that were."""
    known = {name: module for name, module in sys.modules.items() if _is_of(project, name, module)}
    for name in known:
        del sys.modules[name]
    return known


def recall(project: Path, known: Mapping[str, ModuleType]) -> None:
    """Have the modules that `forget` gave again, instead of those imported since."""
    forget(project)
    sys.modules.update(known)


def _is_of(project: Path, name: str, module: ModuleType) -> bool:
    if name.partition(".")[0] in (OURS, "__main__", "__mp_main__"):
        return False
    root = os.path.realpath(project)
    file = getattr(module, "__file__", None)
    places = [file] if file else [str(place) for place in getattr(module, "__path__", ())]
    return any(_lies_in(root, os.path.realpath(place)) for place in places)


def _lies_in(root: str, place: str) -> bool:
    inside = place.removeprefix(root + os.sep)
    return inside != place and not any(map(_is_apart, Path(inside).parts))
