"""Tables follow their definitions: what loses nothing happens by itself, anything else is refused with what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_assets.entities.definition_files import FaultyDefinitionsError, read_entities
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.entity_tables import inspect
from ingestion_assets.entities.evolution import IncompatibleTableError, widens
from ingestion_assets.entities.table_changes import ensure_tables
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows

Define = Callable[..., EntitySet]
NOTE = """
entity: Note
prefix: N
table: notes
fields:
  - {name: id, type: integer}
  - {name: text, type: string, length: 10}
  - {name: price, type: decimal, precision: 6, scale: 2, nullable: true}
primary_key: [id]
"""


@pytest.fixture
def define(tmp_path: Path) -> Define:
    def write(*changes: tuple[str, str]) -> EntitySet:
        text = NOTE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "note.yaml").write_text(text, encoding="utf-8")
        return read_entities([tmp_path])

    return write


ADDED = ("\nprimary_key", "\n  - {name: colour, type: text, nullable: true}\nprimary_key")


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (ADDED, ("colour", "text")),
        (("length: 10", "length: 20"), ("text", "character varying(20)")),
        (("type: string, length: 10", "type: text"), ("text", "text")),
        (("type: integer", "type: bigint"), ("id", "bigint")),
        (("precision: 6, scale: 2", "precision: 9, scale: 3"), ("price", "numeric(9,3)")),
    ],
)
def test_what_loses_nothing_happens_by_itself(
    database: "psycopg.Connection[Any]", define: Define, change: tuple[str, str], column: tuple[str, str]
) -> None:
    load_drops(database, define(), landed(b"N|1|hello|1.50"))
    after = define(change)
    (loaded,) = load_drops(database, after, landed(b"N|2|more|2.00"))
    assert loaded.total().inserted == 1
    standing = inspect(database, "notes")
    assert standing is not None
    assert standing.columns[column[0]].type == column[1]
    assert [row[:2] for row in rows(database, after, "Note")] == [(1, "hello"), (2, "more")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("length: 10", "length: 5"), "Keep character varying(10)"),
        (("type: integer", "type: smallint"), "Keep integer"),
        (("precision: 6, scale: 2", "precision: 6, scale: 3"), "Keep numeric(6,2)"),
        (("  - {name: price, type: decimal, precision: 6, scale: 2, nullable: true}\n", ""), "DROP COLUMN price"),
        (("\nprimary_key", "\n  - {name: colour, type: text}\nprimary_key"), "Make it nullable"),
        (("scale: 2, nullable: true", "scale: 2"), "Keep nullable: true"),
        (("primary_key: [id]", "primary_key: [id, text]"), "Define a new entity"),
    ],
)  # fmt: skip
def test_what_could_lose_data_is_refused_with_what_to_do(
    database: "psycopg.Connection[Any]", define: Define, change: tuple[str, str], said: str
) -> None:
    load_drops(database, define(), landed(b"N|1|hello|1.50"))
    with pytest.raises(IncompatibleTableError, match=said.replace("(", r"\(").replace(")", r"\)")):
        load_drops(database, define(change), landed(b"N|2|x|2.00"))
    assert len(rows(database, define(), "Note")) == 1


def test_empty_table_takes_any_definition(database: "psycopg.Connection[Any]", define: Define) -> None:
    with database.transaction():
        ensure_tables(database, define())
    with database.transaction():
        ensure_tables(database, define(("length: 10", "length: 5"), ("type: integer", "type: smallint")))
    standing = inspect(database, "notes")
    assert standing is not None
    assert (standing.columns["text"].type, standing.columns["id"].type) == (
        "character varying(5)",
        "smallint",
    )


def test_references_come_and_go(database: "psycopg.Connection[Any]", define: Define) -> None:
    load_drops(database, define(), landed(b"N|1|hello|1.50"))
    reference = ("primary_key: [id]", "primary_key: [id]\nreferences: [{fields: [id], entity: Note}]")
    for definition, number in ((define(reference), 1), (define(), 0)):
        with database.transaction():
            ensure_tables(database, definition)
        standing = inspect(database, "notes")
        assert standing is not None
        assert len(standing.foreign_keys) == number


@pytest.mark.parametrize(
    ("have", "wanted", "holds"),
    [
        ("smallint", "bigint", True), ("bigint", "integer", False), ("numeric(5,2)", "numeric(6,2)", True),
        ("numeric(5,2)", "numeric(5,3)", False), ("numeric(5,2)", "numeric(5,1)", False),
        ("character varying(5)", "character varying(4)", False), ("text", "character varying(4)", False),
        ("date", "timestamp with time zone", False),
    ],
)  # fmt: skip
def test_widening(have: str, wanted: str, holds: bool) -> None:
    assert widens(have, wanted) is holds


def test_bookkeeping_of_an_earlier_release_is_brought_up_to_date(
    database: "psycopg.Connection[Any]", define: Define
) -> None:
    database.execute(
        "CREATE SCHEMA entities; CREATE TABLE entities._tally (entity text PRIMARY KEY, processed bigint, failed bigint)"
    )
    database.execute("INSERT INTO entities._tally VALUES ('Note', 7, 1)")
    load_drops(database, define(), landed(b"N|1|hello|1.50"))
    assert database.execute("SELECT * FROM entities._tally").fetchall() == [("Note", 8, 1, 0)]


def test_names_near_the_longest_never_meet(database: "psycopg.Connection[Any]", tmp_path: Path) -> None:
    """PostgreSQL cuts names at 63 bytes: whatever is made from a table's name must differ before that."""
    field = "c" * 59
    for number, end in enumerate("ab"):
        reference = f"  - {{fields: [{field}], entity: Long1}}\n  - {{fields: [{field[1:]}], entity: Long0}}"
        (tmp_path / f"{end}.yaml").write_text(
            f"entity: Long{number}\nprefix: L{number}\ntable: {'t' * 58}{end}\nfields:\n  - {{name: id, type: integer}}\n"
            f"  - {{name: {field}, type: integer, nullable: true}}\n  - {{name: {field[1:]}, type: integer, nullable: true}}\n"
            f"primary_key: [id]\nreferences:\n{reference}\n"
        )
    both = read_entities([tmp_path])
    (loaded,) = load_drops(database, both, landed(b"L0|1|2|\nL1|2|2|1\nL1|3|4|\nL1|5|3\nL0|6|5|1"))
    assert (loaded.total().inserted, loaded.total().failed) == (2, 3)
    (loaded,) = load_drops(database, both, landed(b"L0|1|2|1\nL1|2|2|"))
    assert loaded.total().updated == 2
    for entity in both.entities:
        standing = inspect(database, entity.table)
        assert standing is not None
        assert len(standing.foreign_keys) == 2


@pytest.mark.parametrize(
    ("name", "taken"), [("NoteBook", "Notebook"), ("RawBatches", None), ("IngestionLog", None)]
)
def test_assets_of_two_entities_never_have_one_name(tmp_path: Path, name: str, taken: str | None) -> None:
    """`ABc` and `Abc` would both be `abc`, and one such pair would take down the code location."""
    for number, one in enumerate(filter(None, (name.replace("NoteBook", "NOtebook"), taken))):
        text = (
            NOTE.replace("Note", one)
            .replace("prefix: N", f"prefix: N{number}")
            .replace("notes", f"t{number}")
        )
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FaultyDefinitionsError, match="asset"):
        read_entities([tmp_path])
