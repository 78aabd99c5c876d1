"""Judging definition files: they come into force when they can be read and the tables can follow them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.in_force import Note, read_note, write_note
from ingestion_assets.entities.reading import FaultyDefinitionsError, digest, read_entities
from ingestion_assets.entities.tables import IncompatibleTableError, ensure_tables


def judge(connection: "psycopg.Connection[Any]", paths: Sequence[Path], *, home: Path) -> Note:
    """Bring the files into force, tables included, or note why the last good definitions stay; what is in force then.

    Without last good ones, definitions that the tables cannot follow are in force nevertheless: their payloads fail, are
    kept, and can be redriven. Raises `FaultyDefinitionsError` for files that cannot be read then, and `OSError`.
    """
    known = read_note(home)
    files = digest(paths)
    entities: EntitySet | None = None
    try:
        entities = read_entities(paths)
        note = Note(files=files, entities=entities.entities)
        with connection.transaction():
            ensure_tables(connection, entities)
            if note != known:
                write_note(home, note)  # before a load that waits for this transaction asks what is in force
    except (FaultyDefinitionsError, IncompatibleTableError) as error:
        if known is None and entities is None:
            raise
        before = known.entities if known else entities.entities if entities else ()
        note = Note(files=files, entities=before, refused=str(error))
        if note != known:
            write_note(home, note)
    return note
