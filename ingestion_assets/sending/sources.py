"""Finds what there is to send under the paths given: transcripts, todo lists, settings."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TRANSCRIPT = re.compile(r"\.jsonl(\.\d+)?$")
_SESSION_ID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_TODOS = re.compile(r"^(?P<session>.+?)-agent-.+\.json$")
SETTINGS_FILES = ("settings.json", "config.json")

Kind = Literal["transcript", "todos", "config"]


@dataclass(frozen=True, slots=True)
class Source:
    """One file to send. `session_id` is the session of lines that name none."""

    path: Path
    kind: Kind
    session_id: str | None = None


def find_sources(
    paths: Iterable[Path], *, with_todos: bool = True, with_settings: bool = False
) -> list[Source]:
    """Every file to send, sorted by path, each file once however many paths or links lead to it.

    A folder is searched to the bottom for `*.jsonl` and for `todos/*.json`. A `.claude` folder gives its
    `projects` and `todos`, and its settings when asked for; `projects` gives the `todos` beside it as well.
    """
    found: dict[tuple[int, int], Source] = {}
    for path in paths:
        for source in _sources_under(path):
            if (source.kind == "todos" and not with_todos) or (source.kind == "config" and not with_settings):
                continue
            try:
                status = source.path.stat()
            except OSError:
                continue  # gone since it was listed; it is found under its new name next time
            found.setdefault((status.st_dev, status.st_ino), source)
    return sorted(found.values(), key=lambda source: (source.kind != "transcript", str(source.path)))


def watched_folders(paths: Iterable[Path]) -> list[Path]:
    """The folders whose changes can concern `paths`."""
    folders: list[Path] = []
    for path in paths:
        folder = path if path.is_dir() else path.parent
        folders.append(folder)
        if folder.name == "projects" and (folder.parent / "todos").is_dir():
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


def _sources_under(path: Path) -> Iterator[Source]:
    if path.is_file():
        yield _file_source(path)
    elif (path / "projects").is_dir() and not any(path.glob("*-*.jsonl")):
        yield from _walk(path / "projects")
        yield from _walk(path / "todos")
        yield from (Source(path / name, "config") for name in SETTINGS_FILES if (path / name).is_file())
    else:
        yield from _walk(path)
        if path.name == "projects":
            yield from _walk(path.parent / "todos")


def _walk(folder: Path) -> Iterator[Source]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if _TRANSCRIPT.search(name) or (path.parent.name == "todos" and name.endswith(".json")):
                yield _file_source(path)


def _file_source(path: Path) -> Source:
    if path.name in SETTINGS_FILES:
        return Source(path, "config")
    if path.suffix == ".json":
        match = _TODOS.match(path.name)
        return Source(path, "todos", match["session"] if match else path.stem)
    return Source(path, "transcript", default_session(path))
