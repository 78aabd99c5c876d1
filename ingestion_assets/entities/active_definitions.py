"""The active definitions: those of the files, or the last good ones where the files were found faulty.

The front door judges the files (`activation`) and notes in the home what came of it; every process of the stack goes by
that note, and sees when it changes. A process whose front door has not judged the files yet reads them itself.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.definition_files import (
    FaultyDefinitionsError,
    definition_paths,
    digest,
    read_entities,
)
from ingestion_assets.entities.entity_set import DefinitionError, EntitySet
from ingestion_assets.settings import load_settings
from ingestion_assets.stores.durable_files import write_durably

NOTE = "entities.json"


class Note(BaseModel):
    """What came of judging the files. `refused` says why they are not active, or not all.

    `costly`: to find that out again means to read whole tables, or locks.
    """

    model_config = ConfigDict(frozen=True)

    files: str
    entities: tuple[Entity, ...]
    refused: str | None = None
    costly: bool = False


def read_note(home: Path) -> Note | None:
    """The note, None where there is none that this release understands."""
    with contextlib.suppress(OSError, ValidationError):
        return Note.model_validate_json((home / NOTE).read_bytes())
    return None


def write_note(home: Path, note: Note) -> None:
    """Replace the note, durably: without it, the definitions that were good before faulty ones came are lost."""
    write_durably(home / NOTE, note.model_dump_json())


def note_stamp(home: Path) -> int:
    """Changes when the note does."""
    try:
        return (home / NOTE).stat().st_mtime_ns
    except OSError:
        return 0


def active_entities(paths: Sequence[Path], *, home: Path) -> EntitySet:
    """All entities, checked. Raises `FaultyDefinitionsError` where the files are faulty and never were good."""
    note = read_note(home)
    if note is not None and note.files == digest(paths):
        with contextlib.suppress(DefinitionError):
            return EntitySet.of(note.entities)
    try:
        return read_entities(paths)
    except FaultyDefinitionsError:
        if note is None:
            raise
        return EntitySet.of(note.entities)


@dataclass(frozen=True, slots=True)
class _Known:
    entities: EntitySet
    stamp: int


_known: _Known | None = None


def defined_entities() -> EntitySet:
    """The entities that this process goes by. Raises `FaultyDefinitionsError` where there are none."""
    return (_known or _look()).entities


def current_entities() -> EntitySet:
    """What is active now, and what this process goes by from here on. Costs a look at one file."""
    return _current().entities


def current_version() -> str:
    """The version of that."""
    return _current().entities.version


def _current() -> _Known:
    known = _known
    if known is None or known.stamp != note_stamp(load_settings().home):
        known = _look()
    return known


def _look() -> _Known:
    global _known  # noqa: PLW0603 - what the whole process goes by
    home = load_settings().home
    stamp = note_stamp(home)
    entities = active_entities(definition_paths(home), home=home)
    _known = _Known(entities, stamp)
    return _known
