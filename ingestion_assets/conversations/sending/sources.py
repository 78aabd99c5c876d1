"""Finds what there is to send under the paths given: transcripts, todo lists, settings; and what cannot be looked at."""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ingestion_assets.conversations.sending.slices import Problem
from ingestion_assets.sending.files import is_folder, kind_of, reason_of, shown

_TRANSCRIPT = re.compile(r"\.jsonl(\.\d+)?(\.gz)?$")
_SESSION_ID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_TODOS = re.compile(r"^(?P<session>.+?)-agent-.+\.json$")
SETTINGS_FILES = ("settings.json", "config.json")

Kind = Literal["transcript", "todos", "config"]


@dataclass(frozen=True, slots=True)
class Source:
    """One file to send. `session_id` is the session of lines that name none; `size` is in bytes on disk."""

    path: Path
    kind: Kind
    session_id: str | None = None
    size: int = 0

    @property
    def name(self) -> str:
        """The path as it is shown and remembered."""
        return shown(self.path)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is: files to send, what could not be read (by name), and what is passed over (name and why)."""

    sources: list[Source] = field(default_factory=list)
    unreadable: dict[str, Problem] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)


def find_sources(paths: Iterable[Path], *, with_todos: bool = True, with_settings: bool = False) -> Found:
    """Every file to send, sorted by path, each file once however many paths or links lead to it.

    A folder is searched to the bottom for `*.jsonl` and for `todos/*.json`, linked folders too. A `.claude` folder
    gives its `projects` and `todos`, and its settings when asked for; `projects` gives what is beside it as well.
    """
    search = _Search(todos=with_todos, settings=with_settings)
    for path in paths:
        search.under(path)
    search.found.sources.sort(key=lambda source: (source.kind != "transcript", str(source.path)))
    return search.found


def watched_folders(paths: Iterable[Path]) -> list[Path]:
    """The folders whose changes can concern `paths`."""
    folders: list[Path] = []
    for path in paths:
        folder = path if is_folder(path) else path.parent
        folders.append(folder)
        if folder.name == "projects" and is_folder(folder.parent / "todos"):
            folders.append(folder.parent / "todos")
    return folders


def default_session(path: Path) -> str | None:
    """The session of lines that name none: from the file's or its folder's name."""
    name = path.name.split(".jsonl")[0]
    if _SESSION_ID.match(name):
        return name
    parts = path.parts
    if "subagents" in parts:
        owner = parts[parts.index("subagents") - 1]
        if _SESSION_ID.match(owner):
            return owner
    return None


class _Search:
    """One search: what it found, and the files and folders it has been to."""

    def __init__(self, *, todos: bool, settings: bool) -> None:
        self.found = Found()
        self._kinds = {"transcript"} | ({"todos"} if todos else set()) | ({"config"} if settings else set())
        self._seen: set[tuple[object, ...]] = set()

    def under(self, path: Path) -> None:
        if not is_folder(path):
            self._file(path)
        elif is_folder(path / "projects") and not any(path.glob("*-*.jsonl")):
            self._claude_folder(path)
        elif path.name == "projects":
            self._claude_folder(path.parent, projects=path)
        else:
            self._walk(path)

    def _claude_folder(self, folder: Path, *, projects: Path | None = None) -> None:
        self._walk(projects or folder / "projects")
        if is_folder(folder / "todos"):
            self._walk(folder / "todos")
        for name in SETTINGS_FILES:
            self._file(folder / name)

    def _walk(self, folder: Path) -> None:
        for parent, folders, names in os.walk(folder, onerror=self._unreadable, followlinks=True):
            in_todos = Path(parent).name == "todos"
            if not self._is_new(Path(parent), in_todos):  # links may lead in circles
                folders.clear()
                continue
            folders.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if _TRANSCRIPT.search(name) or (in_todos and name.endswith(".json")):
                    self._file(path)
                elif path.is_symlink():
                    self._link(path)

    def _file(self, path: Path) -> None:
        source = _file_source(path)
        if source.kind not in self._kinds:
            return
        try:
            status = path.stat()
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or path.is_symlink():
                self._unreadable(error, path)
            return  # else it is gone since it was listed, and found under its new name next time
        if not stat.S_ISREG(status.st_mode):
            self.found.passed_over[source.name] = f"is {kind_of(path)}, not a file"
        elif (identity := (status.st_dev, status.st_ino)) not in self._seen:
            self._seen.add(identity)
            self.found.sources.append(
                Source(path, source.kind, session_id=source.session_id, size=status.st_size)
            )

    def _link(self, path: Path) -> None:
        """A link that is none to a folder, as far as one can see: a folder may lie where one may not look."""
        try:
            path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            self._unreadable(error, path)

    def _is_new(self, folder: Path, *more: object) -> bool:
        try:
            status = folder.stat()
        except OSError as error:
            self._unreadable(error, folder)
            return False
        before = len(self._seen)
        self._seen.add((status.st_dev, status.st_ino, *more))
        return len(self._seen) > before

    def _unreadable(self, error: OSError, path: Path | None = None) -> None:
        if path is None and isinstance(error, FileNotFoundError):
            return  # a folder that is gone since it was listed
        name = shown(path or error.filename)
        reason = "the link leads nowhere" if isinstance(error, FileNotFoundError) else reason_of(error)
        self.found.unreadable[name] = unreadable(name, reason)


def unreadable(name: str, reason: str) -> Problem:
    """The problem of a file or folder that cannot be read."""
    return Problem(path=name, line=0, offset=0, code="unreadable", reason=reason)


def _file_source(path: Path) -> Source:
    if path.name in SETTINGS_FILES:
        return Source(path, "config")
    if path.suffix == ".json":
        match = _TODOS.match(path.name)
        return Source(path, "todos", shown(match["session"] if match else path.stem))
    return Source(path, "transcript", default_session(path))
