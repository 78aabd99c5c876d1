"""Which definitions are active: judged ones, the last good where the files are faulty or the tables cannot follow."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_assets.entities.activation import judge
from ingestion_assets.entities.active_definitions import Note, active_entities
from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.definition_files import FaultyDefinitionsError, read_entities, stamps
from ingestion_assets.entities.definition_watch import again_after
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import inspect
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


def active(file: Path) -> int | None:
    """What a process that starts now goes by."""
    return length(active_entities([file.parent], home=file.parents[1]))


def test_files_are_active_until_they_are_judged(file: Path) -> None:
    assert active(file) == 10
    file.write_text(LONGER, encoding="utf-8")
    assert active(file) == 20
    file.write_text(FAULTY, encoding="utf-8")
    with pytest.raises(FaultyDefinitionsError):
        active(file)


@pytest.mark.parametrize(("text", "said"), [(FAULTY, "note.yaml:7:"), (SHORTER, "the risk of losing data")])
def test_last_good_definitions_stay(database: Database, file: Path, text: str, said: str) -> None:
    home = file.parents[1]
    assert judge(database, [file.parent], home=home).refused is None
    load_drops(database, read_entities([file.parent]), landed(b"N|1|0123456789"))

    file.write_text(text, encoding="utf-8")
    note = judge(database, [file.parent], home=home)
    assert said in (note.refused or "")
    assert (length(EntitySet.of(note.entities)), active(file)) == (10, 10)

    file.write_text(LONGER, encoding="utf-8")
    assert judge(database, [file.parent], home=home).refused is None
    assert active(file) == 20
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
    assert active(file) == 5


def test_every_change_has_another_stamp(file: Path) -> None:
    seen = {stamps([file.parent])}
    (file.parent / "more.yml").write_text(NOTE, encoding="utf-8")
    seen.add(stamps([file.parent]))
    (file.parent / "more.yml").write_text(LONGER + "#", encoding="utf-8")
    seen.add(stamps([file.parent]))
    file.unlink()
    seen.add(stamps([file.parent]))
    assert len(seen) == 4


OTHER = NOTE.replace("Note", "Other").replace("prefix: N", "prefix: OT").replace("notes", "others")
REFERS = """
entity: Refers
prefix: RF
table: refers
fields:
  - {name: id, type: integer}
  - {name: note, type: integer, nullable: true}
primary_key: [id]
"""
REFERENCE = "references: [{fields: [note], entity: Note}]\n"


def judged(database: Database, file: Path, **files: str) -> Note:
    for name, text in files.items():
        (file.parent / f"{name}.yaml").write_text(text, encoding="utf-8")
    return judge(database, [file.parent], home=file.parents[1])


def active_here(file: Path) -> dict[str, Entity]:
    return dict(active_entities([file.parent], home=file.parents[1]).by_name)


def test_a_reference_is_refused_while_rows_reference_nothing(database: Database, file: Path) -> None:
    judged(database, file, refers=REFERS)
    load_drops(database, read_entities([file.parent]), landed(b"RF|1|\nRF|2|99\nRF|3|98"))
    note = judged(database, file, refers=REFERS + REFERENCE, other=OTHER, note=LONGER)
    assert note.refused == (
        "Refers: 2 rows of entities.refers would reference a row of entities.notes that is not there, such as the row id=2 with "
        "note=99. Store what is missing, correct or delete such rows, or leave the reference out."
    )
    assert note.costly
    now = active_here(file)
    assert (now["Refers"].references, now["Note"].field("text").length) == ((), 20)
    (loaded,) = load_drops(
        database, EntitySet.of(note.entities), landed(b"OT|1|new\nRF|4|97\nN|1|" + b"x" * 20)
    )
    assert loaded.total().inserted == 3
    database.execute("DELETE FROM entities.refers WHERE note IS NOT NULL")
    assert judged(database, file).refused is None
    assert active_here(file)["Refers"].references


@pytest.fixture
def noted(database: Database, file: Path) -> Path:
    judge(database, [file.parent], home=file.parents[1])
    load_drops(database, read_entities([file.parent]), landed(b"N|1|0123456789"))
    return file


def assert_stays(database: Database, file: Path, note: Note) -> None:
    """The note stays what it was and takes messages; the other file came into force."""
    assert {one.entity for one in note.entities} == {"Note", "Other"}
    assert length(EntitySet.of(note.entities)) == active(file) == 10
    (loaded,) = load_drops(database, EntitySet.of(note.entities), landed(b"N|2|x\nOT|1|y"))
    assert loaded.total().inserted == 2


def test_a_view_that_depends_on_a_column_is_named(database: Database, noted: Path) -> None:
    database.execute("CREATE VIEW entities.shown AS SELECT text FROM entities.notes")
    note = judged(database, noted, note=NOTE.replace("string, length: 10", "text"), other=OTHER)
    assert note.costly
    assert "Note: PostgreSQL refuses what the definition needs" in str(note.refused)
    assert "view entities.shown depends on column" in str(note.refused)
    assert_stays(database, noted, note)
    database.execute("DROP VIEW entities.shown")
    assert judged(database, noted).refused is None
    assert active(noted) is None


def test_a_table_that_belongs_to_somebody_else(database: Database, noted: Path) -> None:
    role = f"keeper_{database.info.dbname}"
    database.execute(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA entities TO {role}")  # type: ignore[arg-type]
    database.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA entities TO {role}")  # type: ignore[arg-type]
    try:
        database.execute(f"GRANT CREATE ON DATABASE {database.info.dbname} TO {role}")  # type: ignore[arg-type]
        database.execute(f"SET ROLE {role}")  # type: ignore[arg-type]
        note = judged(database, noted, note=LONGER, other=OTHER)
        database.execute("RESET ROLE")
        assert "must be owner of table notes" in str(note.refused)
        assert length(EntitySet.of(note.entities)) == 10
        assert inspect(database, "others") is not None
    finally:
        database.execute("RESET ROLE")
        database.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")  # type: ignore[arg-type]


def test_a_table_that_may_not_even_be_read(database: Database, noted: Path) -> None:
    """Nor do columns of types that cannot be compared keep the others out."""
    role = f"reader_{database.info.dbname}"
    database.execute(
        "CREATE TABLE entities.refers (id integer PRIMARY KEY, note text, _drop uuid, _record integer)"
    )
    database.execute("INSERT INTO entities.refers VALUES (1, 'a')")
    may = f"GRANT CREATE ON DATABASE {database.info.dbname} TO {role}"
    bookkeeping = "entities._applied, entities._loads, entities._waiting, entities._tally"
    database.execute(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA entities TO {role}; {may}")  # type: ignore[arg-type]
    database.execute(f"GRANT ALL ON {bookkeeping} TO {role}")  # type: ignore[arg-type]
    database.execute(f"GRANT ALL ON entities.refers TO {role}")  # type: ignore[arg-type]
    try:
        database.execute(f"SET ROLE {role}")  # type: ignore[arg-type]
        note = judged(
            database, noted, refers=REFERS + REFERENCE.replace("Note", "Other"), note=LONGER, other=OTHER
        )
        database.execute("RESET ROLE")
        said = str(note.refused).splitlines()
        assert (
            "Note: PostgreSQL refuses what the definition needs: permission denied for table notes" in said[0]
        )
        assert said[1].startswith("Refers: note is text in entities.refers and cannot become integer")
        assert {one.entity for one in note.entities} == {"Note", "Other"}
    finally:
        database.execute("RESET ROLE")
        database.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")  # type: ignore[arg-type]


def test_a_table_that_is_in_use_is_not_waited_for_long(
    database: Database, noted: Path, fresh_postgres_url: str
) -> None:
    with psycopg.connect(fresh_postgres_url) as other:
        other.execute("LOCK TABLE entities.notes IN ACCESS SHARE MODE")
        note = judged(database, noted, note=LONGER, other=OTHER)
        assert f"entities.notes is in use by the server process {other.info.backend_pid}" in str(note.refused)
        assert_stays(database, noted, note)
    assert judged(database, noted).refused is None


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE VIEW entities.others AS SELECT 1 AS id", "entities.others is a view, not a table"),
        ("CREATE SEQUENCE entities.others", "entities.others is a sequence, not a table"),
        ("CREATE INDEX others ON entities.notes (text)", "entities.others is an index, not a table"),
        ("CREATE TYPE entities.others AS ENUM ('a')", 'type "others" already exists'),
    ],
)
def test_a_name_that_is_taken(database: Database, noted: Path, made: str, said: str) -> None:
    database.execute(made)  # type: ignore[arg-type]
    note = judged(database, noted, other=OTHER, note=LONGER)
    assert said in str(note.refused)
    assert [one.entity for one in note.entities] == ["Note"]
    assert active(noted) == 20


def test_what_depends_on_a_refused_entity_stays_too(database: Database, noted: Path) -> None:
    database.execute("CREATE VIEW entities.others AS SELECT 1 AS id")
    refers = REFERS + REFERENCE.replace("entity: Note", "entity: Other")
    note = judged(database, noted, other=OTHER, refers=refers)
    assert str(note.refused).splitlines()[1] == "Refers: there is no entity Other among the active ones"
    assert [one.entity for one in note.entities] == ["Note"]


def test_a_table_changed_by_hand_does_not_put_its_entity_out_of_force(
    database: Database, noted: Path
) -> None:
    database.execute("ALTER TABLE entities.notes ADD COLUMN more text")
    note = judged(database, noted, other=OTHER)
    assert "the column more is no longer defined" in str(note.refused)
    assert_stays(database, noted, note)


def test_definitions_that_the_database_refuses_are_tried_ever_more_rarely() -> None:
    pauses = [again_after(times, costly=True) for times in range(1, 12)]
    assert pauses[:3] == [10, 20, 40]
    assert pauses[-1] == again_after(10**9, costly=True) == 3600
    assert again_after(100, costly=False) == 10


def test_the_command_says_what_is_in_the_way(
    database: Database, noted: Path, fresh_postgres_url: str
) -> None:
    """What it can see by itself, and what only a running stack found out."""
    home = noted.parents[1]
    environment = os.environ | {
        "INGESTION_HOME": str(home),
        "INGESTION_POSTGRES_URL": fresh_postgres_url,
        "INGESTION_ENTITIES": "",
    }

    def check() -> str:
        command = [sys.executable, "-m", "ingestion_assets.cli", "entities", "check"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done
        return done.stderr

    judged(database, noted, refers=REFERS)
    load_drops(database, read_entities([noted.parent]), landed(b"RF|2|99"))
    (noted.parent / "refers.yaml").write_text(REFERS + REFERENCE, encoding="utf-8")
    assert (
        "Refers: 1 row of entities.refers would reference a row of entities.notes that is not there"
        in check()
    )
    database.execute("DELETE FROM entities.refers")
    database.execute("CREATE VIEW entities.shown AS SELECT text FROM entities.notes")
    assert judged(database, noted, note=NOTE.replace("string, length: 10", "text")).costly
    assert "view entities.shown depends on column" in check()
