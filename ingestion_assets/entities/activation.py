"""Activating definition files: each entity becomes active when its file can be read and its table can follow it."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import psycopg

from ingestion_assets.entities.active_definitions import Note, read_note, write_note
from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.definition_files import FaultyDefinitionsError, digest, read_entities
from ingestion_assets.entities.entity_set import DefinitionError, EntitySet
from ingestion_assets.entities.evolution import IncompatibleTableError, Refusal
from ingestion_assets.entities.table_changes import ensure_tables


class _Choice(IntEnum):
    """Which definition of an entity is tried: as the files have it, else the last good one, else that without its table."""

    WANTED = 0
    LAST_GOOD = 1
    LEFT = 2


def judge(connection: "psycopg.Connection[Any]", paths: Sequence[Path], *, home: Path) -> Note:
    """Activate the files, tables included, and note it; what is active then, and what was refused.

    Files become active together, and only if all can be read. An entity whose table cannot follow keeps its last good
    definition (or is left out, where it had none), and stops no other. Raises `FaultyDefinitionsError` for files that
    cannot be read and never could, and `OSError`.
    """
    known = read_note(home)
    files = digest(paths)
    before = {one.entity: one for one in known.entities} if known else {}
    try:
        wanted = read_entities(paths)
    except FaultyDefinitionsError as error:
        if known is None:
            raise
        return _noted(Note(files=files, entities=known.entities, refused=str(error)), known, home)
    choices = {one.entity: _Choice.WANTED for one in wanted.entities}
    refusals: list[Refusal] = []
    while True:
        try:
            chosen = _chosen(wanted, before, choices)
            left = {name for name, choice in choices.items() if choice is _Choice.LEFT}
            with connection.transaction():
                ensure_tables(connection, chosen, leave=left)
                # before a load that waits for this transaction asks what is active
                return _noted(_note(files, chosen.entities, refusals), known, home)
        except IncompatibleTableError as error:
            found = error.refusals
        except DefinitionError as error:
            found = (Refusal(error.entity, f"{error} among the active ones"),)
        refusals += [one for one in found if choices.get(one.entity) in {None, _Choice.WANTED}]
        further = {one.entity for one in found if choices.get(one.entity, _Choice.LEFT) is not _Choice.LEFT}
        if not further:  # nobody's table is to blame, or the last good ones do not go with the new ones
            return _noted(_note(files, tuple(before.values()) or wanted.entities, refusals), known, home)
        choices |= {name: _Choice(choices[name] + 1) for name in further}


def _chosen(wanted: EntitySet, before: Mapping[str, Entity], choices: Mapping[str, _Choice]) -> EntitySet:
    """The entities as they were chosen. Raises `DefinitionError` where they do not fit together."""
    return EntitySet.of(
        [
            one if choices[one.entity] is _Choice.WANTED else before[one.entity]
            for one in wanted.entities
            if choices[one.entity] is _Choice.WANTED or one.entity in before
        ]
    )


def _note(files: str, entities: tuple[Entity, ...], refusals: Sequence[Refusal]) -> Note:
    said = str(IncompatibleTableError(refusals)) if refusals else None
    costly = any(one.costly for one in refusals)
    return Note(files=files, entities=entities, refused=said, costly=costly)


def _noted(note: Note, known: Note | None, home: Path) -> Note:
    if note != known:
        write_note(home, note)
    return note
