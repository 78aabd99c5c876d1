"""Which definitions are in force: judged ones, the last good where the files are faulty or the tables cannot follow."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_assets.entities.adoption import judge
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.in_force import entities_in_force
from ingestion_assets.entities.reading import FaultyDefinitionsError, read_entities, stamps
from ingestion_assets.entities.tables import inspect
from ingestion_assets_tests.entities.conftest import landed, load_drops

Database = psycopg.Connection[Any]
NOTE = """
entity: Note
prefix: N
table: notes
fields:
  - {name: id, type: integer}
  - {name: text, type: string, length: 10}
primary_key: [id]
"""
LONGER, SHORTER, FAULTY = (NOTE.replace("length: 10", f"length: {one}") for one in ("20", "5", "none"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "entities"
    folder.mkdir()
    (folder / "note.yaml").write_text(NOTE, encoding="utf-8")
    return folder / "note.yaml"


def length(entities: EntitySet) -> int | None:
    return entities.by_name["Note"].field("text").length


def in_force(file: Path) -> int | None:
    """What a process that starts now goes by."""
    return length(entities_in_force([file.parent], home=file.parents[1]))


def test_files_are_in_force_until_they_are_judged(file: Path) -> None:
    assert in_force(file) == 10
    file.write_text(LONGER, encoding="utf-8")
    assert in_force(file) == 20
    file.write_text(FAULTY, encoding="utf-8")
    with pytest.raises(FaultyDefinitionsError):
        in_force(file)


@pytest.mark.parametrize(("text", "said"), [(FAULTY, "note.yaml:7:"), (SHORTER, "the risk of losing data")])
def test_last_good_definitions_stay(database: Database, file: Path, text: str, said: str) -> None:
    home = file.parents[1]
    assert judge(database, [file.parent], home=home).refused is None
    load_drops(database, read_entities([file.parent]), landed(b"N|1|0123456789"))

    file.write_text(text, encoding="utf-8")
    note = judge(database, [file.parent], home=home)
    assert said in (note.refused or "")
    assert (length(EntitySet.of(note.entities)), in_force(file)) == (10, 10)

    file.write_text(LONGER, encoding="utf-8")
    assert judge(database, [file.parent], home=home).refused is None
    assert in_force(file) == 20
    standing = inspect(database, "notes")
    assert standing is not None
    assert standing.columns["text"].type == "character varying(20)"


def test_definitions_are_judged_again_when_the_table_was_repaired(database: Database, file: Path) -> None:
    home = file.parents[1]
    judge(database, [file.parent], home=home)
    load_drops(database, read_entities([file.parent]), landed(b"N|1|0123456789"))
    file.write_text(SHORTER, encoding="utf-8")
    assert judge(database, [file.parent], home=home).refused is not None
    database.execute("DELETE FROM entities.notes")
    assert judge(database, [file.parent], home=home).refused is None
    assert in_force(file) == 5


def test_every_change_has_another_stamp(file: Path) -> None:
    seen = {stamps([file.parent])}
    (file.parent / "more.yml").write_text(NOTE, encoding="utf-8")
    seen.add(stamps([file.parent]))
    (file.parent / "more.yml").write_text(LONGER + "#", encoding="utf-8")
    seen.add(stamps([file.parent]))
    file.unlink()
    seen.add(stamps([file.parent]))
    assert len(seen) == 4
