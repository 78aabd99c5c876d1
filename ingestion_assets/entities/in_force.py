"""Which definitions are in force: those of the files, or the last good ones where the files were found faulty.

The front door judges the files (`adoption`) and notes in the home what came of it; every process of the stack goes by
that note. A process whose front door has not judged the files yet reads them itself.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import DefinitionError, EntitySet
from ingestion_assets.entities.reading import FaultyDefinitionsError, digest, read_entities
from ingestion_assets.stores.durable_files import write_durably

NOTE = "entities.json"


class Note(BaseModel):
    """What came of judging the files. `refused` says why they are not, or not all, what is in force.

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


def entities_in_force(paths: Sequence[Path], *, home: Path) -> EntitySet:
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
