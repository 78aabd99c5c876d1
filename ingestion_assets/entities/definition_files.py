"""Reading definition files: YAML with its line numbers kept, so that every error says file, line and column."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import DefinitionError, EntitySet
from ingestion_assets.entities.settings import EntitiesSettings
from ingestion_assets.settings import load_flow_settings

SHIPPED = Path(__file__).parent / "tpch"
_SHIPPED_NAME = "tpch"
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong with a definition file; line and column count from 1."""

    file: Path
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class FaultyDefinitionsError(Exception):
    """Definition files that cannot be used; `faults` has all that is wrong with them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def definition_paths(home: Path) -> list[Path]:
    """The files and folders that `INGESTION_ENTITIES` names, and the home's own folder if there is one."""
    named = [
        SHIPPED if part == _SHIPPED_NAME else Path(part).expanduser()
        for part in load_flow_settings(EntitiesSettings).entities.split(os.pathsep)
        if part
    ]
    own = home / "entities"
    return [*named, *([own] if own.is_dir() else [])]


def read_entities(paths: Sequence[Path]) -> EntitySet:
    """All entities in the given files, and in the `*.yaml` and `*.yml` of the given folders.

    Raises `FaultyDefinitionsError` with everything that is wrong.
    """
    faults: list[Fault] = []
    found: list[tuple[Path, Entity, dict[Where, yaml.Mark]]] = []
    for file in _files(paths, faults):
        marks: dict[Where, yaml.Mark] = {}
        try:
            content = file.read_text(encoding="utf-8")
            found.append((file, _read(file, content, marks, faults), marks))
        except _SkipError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(file, 1, 1, f"cannot be read: {error}"))
    if not found and not faults:
        faults.append(Fault(paths[0] if paths else Path(), 1, 1, "no definition files (*.yaml) here"))
    if not faults:
        try:
            return EntitySet.of([entity for _, entity, _ in found])
        except DefinitionError as error:
            for file, entity, marks in found:
                if entity.entity == error.entity:
                    faults.append(_at(file, marks, error.where, str(error)))
            faults = faults[-1:]
    raise FaultyDefinitionsError(sorted(faults))


def stamps(paths: Sequence[Path]) -> frozenset[tuple[str, int, int]]:
    """Name, time of change and size of the files: cheap to ask for, and different after every change."""
    stamps = set()
    for file in _files(paths, []):
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            stamps.add((str(file), found.st_mtime_ns, found.st_size))
    return frozenset(stamps)


def digest(paths: Sequence[Path]) -> str:
    """What stands for the names and contents of the files."""
    contents = hashlib.sha256()
    for file in _files(paths, []):
        with contextlib.suppress(OSError):
            contents.update(b"%s\0%s\0" % (str(file).encode(), hashlib.sha256(file.read_bytes()).digest()))
    return contents.hexdigest()


class _SkipError(Exception):
    pass


def _files(paths: Sequence[Path], faults: list[Fault]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files |= dict.fromkeys(sorted([*path.glob("*.yaml"), *path.glob("*.yml")]))
        elif path.is_file():
            files[path] = None
        else:
            faults.append(Fault(path, 1, 1, "there is no such file or folder"))
    return list(files)


def _read(file: Path, content: str, marks: dict[Where, yaml.Mark], faults: list[Fault]) -> Entity:
    try:
        node = yaml.compose(content, Loader=_Loader)
        if node is None:
            faults.append(Fault(file, 1, 1, "the file is empty"))
            raise _SkipError
        value = _plain(node, (), marks, file, faults)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.append(
            Fault(
                file,
                mark.line + 1 if mark else 1,
                mark.column + 1 if mark else 1,
                f"not valid YAML: {error.problem or error.context}",
            )
        )
        raise _SkipError from error
    try:
        return Entity.model_validate(value)
    except ValidationError as error:
        for item in error.errors():
            where = tuple(part for part in item["loc"] if isinstance(part, str | int))
            text = _sentence(item["type"], item["msg"], where)
            if (*where, key := text.partition(":")[0]) in marks:
                where = (*where, key)
            faults.append(_at(file, marks, where, text))
        raise _SkipError from error


def _plain(
    node: yaml.Node, where: Where, marks: dict[Where, yaml.Mark], file: Path, faults: list[Fault]
) -> Any:
    marks[where] = node.start_mark
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key, item in node.value:
            name = str(key.value)
            if name in values:
                faults.append(_fault(file, key.start_mark, f"`{name}` stands here twice"))
            values[name] = _plain(item, (*where, name), marks, file, faults)
            marks[(*where, name)] = (
                key.start_mark if not isinstance(item, yaml.ScalarNode) else item.start_mark
            )
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*where, index), marks, file, faults) for index, item in enumerate(node.value)]
    if node.tag == "tag:yaml.org,2002:str":
        return node.value
    return yaml.load(yaml.serialize(node), Loader=_Loader)  # noqa: S506 - a safe loader, see above


def _sentence(kind: str, message: str, where: Where) -> str:
    last = where[-1] if where else 0
    if kind == "missing":
        return f"`{last}` is missing"
    if kind == "extra_forbidden":
        return f"`{last}` is not known here"
    said = message.removeprefix("Value error, ")
    return f"{last}: {said[:1].lower()}{said[1:]}" if isinstance(last, str) else said


def _at(file: Path, marks: dict[Where, yaml.Mark], where: Where, text: str) -> Fault:
    while where and where not in marks:
        where = where[:-1]
    return _fault(file, marks[where], text)


def _fault(file: Path, mark: yaml.Mark, text: str) -> Fault:
    return Fault(file, mark.line + 1, mark.column + 1, text)
