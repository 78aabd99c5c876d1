"""What PostgreSQL itself refuses of single rows is a reject that names the field: its neighbours are stored, its content is not told."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ingestion_assets.entities.definition_files import read_entities
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.loaded import Counts, Fault, Loaded
from ingestion_assets.entities.results import outcome_of
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.test_loading import accounted, part, totals

Database = psycopg.Connection[Any]
PAGE = """
entity: Page
prefix: PG
table: pages
fields:
  - {name: address, type: text}
  - {name: part, type: string, length: 3000}
  - {name: number, type: integer}
  - {name: above, type: text, nullable: true}
  - {name: above_part, type: text, nullable: true}
primary_key: [address, part]
references:
  - {fields: [above, above_part], entity: Page}
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> EntitySet:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "page.yaml").write_text(PAGE, encoding="utf-8")
    return read_entities([folder])


def noise(length: int, *, seed: int = 1) -> str:
    """Letters that cannot be made shorter."""
    rng = random.Random(seed)
    return "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(length))


def codes(loaded: Loaded) -> list[tuple[int, str, str | None]]:
    return [(fault.line, fault.code, fault.field) for fault in loaded.faults]


def padded(*lines: str) -> bytes:
    """A payload large enough to be read in columns."""
    return "\n".join((*lines, *(f"PG|many|{n}|1||" for n in range(3000)))).encode()


@pytest.mark.parametrize("shape", [padded, lambda *lines: "\n".join(lines).encode()])
def test_a_key_that_no_index_can_hold_is_a_reject_and_takes_along_only_what_hangs_on_it(
    database: Database, pages: EntitySet, shape: Any
) -> None:
    secret, part_of = noise(2000), noise(1500, seed=2)
    body = shape(
        "PG|a|x|1||", f"PG|{secret}|p|2||", "PG|b|x|3|a|x", f"PG|c|x|4|{secret}|p", "PG|d|x|5|c|x", f"PG|e|{part_of}|6||",
        f"PG|{'x' * 5000}|y|7||", f"PG|f|{noise(800)}|8|b|x",
    )  # fmt: skip
    (loaded,) = load_drops(database, pages, landed(body))
    assert accounted(loaded)
    assert codes(loaded) == [
        (2, "too_long", "address"),
        (4, "missing_reference", "above,above_part"),
        (5, "missing_reference", "above,above_part"),
        (6, "too_long", "part"),
    ]
    assert [row[2] for row in rows(database, pages, "Page") if row[0] != "many"] == [1, 3, 8, 7]
    told = " ".join(fault.message for fault in loaded.faults if fault.code == "too_long")
    assert "field 2 (address)" in told
    assert not {secret[:10], part_of[:10]} & {told[at : at + 10] for at in range(len(told))}
    assert loaded.faults[0].raw.decode() == f"PG|{secret}|p|2||"


def test_what_a_constraint_of_the_table_refuses_is_found_among_many(
    database: Database, pages: EntitySet
) -> None:
    load_drops(database, pages, landed(b"PG|first|x|0||"))
    database.execute("ALTER TABLE entities.pages ADD CONSTRAINT odd CHECK (number % 500 <> 3)")
    database.execute("CREATE UNIQUE INDEX once ON entities.pages (number) WHERE number > 100000")
    lines = [f"PG|p{n}|x|{n}|{f'p{n - 1}|x' if n % 100 else '|'}" for n in range(2000)]
    lines += ["PG|q1|x|100001||", "PG|q2|x|100001||", "PG|q3|x|100002||"]
    (loaded,) = load_drops(database, pages, landed("\n".join(lines).encode()))
    assert accounted(loaded)
    refused = {line - 1 for line, code, _ in codes(loaded) if code == "refused_by_database"}
    assert {3, 503, 1003, 1503} <= refused
    assert len(refused) == 5  # and one of the two with a number that may be there only once
    orphans = {line - 1 for line, code, _ in codes(loaded) if code == "missing_reference"}
    assert orphans == {n for n in range(2000) if n % 500 < 100 and n % 500 > 3}
    assert "CheckViolation (23514), table pages, constraint odd" in loaded.faults[0].message
    assert loaded.total().inserted == 2003 - len(refused) - len(orphans)


def test_a_row_that_no_page_can_hold_and_one_that_a_trigger_refuses(
    database: Database, tmp_path: Path
) -> None:
    fields = "".join(f"  - {{name: f{n}, type: text, nullable: true}}\n" for n in range(490))
    (tmp_path / "wide.yaml").write_text(
        f"entity: Wide\nprefix: W\ntable: wides\nfields:\n  - {{name: id, type: integer}}\n{fields}primary_key: [id]\n"
    )
    wide = read_entities([tmp_path])
    load_drops(database, wide, landed(b"W|0"))
    database.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF new.id = 4 THEN RAISE EXCEPTION 'never %', new.f0; END IF; RETURN new; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON entities.wides FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    long = "|".join(noise(40, seed=n) for n in range(490))
    (loaded,) = load_drops(database, wide, landed(f"W|1|a\nW|2|{long}\nW|3|b\nW|4|secret\nW|5|c".encode()))
    assert [(fault.line, fault.code) for fault in loaded.faults] == [
        (2, "too_long"),
        (4, "refused_by_database"),
    ]
    assert "secret" not in loaded.faults[1].message
    assert [row[0] for row in rows(database, wide, "Wide")] == [0, 1, 3, 5]


def test_a_refused_row_counts_as_an_error_of_its_payload(database: Database, pages: EntitySet) -> None:
    atomic = landed(f"PG|a|x|1||\nPG|{noise(2000)}|x|2||".encode(), max_errors="0")
    dependant = landed(b"PG|b|x|3|a|x\nPG|c|x|4||")
    first, second = load_drops(database, pages, atomic, dependant)
    assert first.refused
    assert (totals(first), totals(second)) == ({"failed": 2}, {"inserted": 1, "failed": 1})


def test_a_line_that_waited_in_a_stream_may_be_refused_in_the_end(
    database: Database, pages: EntitySet
) -> None:
    waiting = part(b"PG|y|x|1|z|x", number=0)
    load_drops(database, pages, waiting)
    database.execute("ALTER TABLE entities.pages ADD CONSTRAINT never CHECK (number <> 1)")
    (last,) = load_drops(database, pages, part(b"PG|z|x|2||", number=1, end=True))
    assert accounted(last)
    assert totals(last) == {"inserted": 1, "failed": 1}
    assert last.settled[waiting.id][0].code == "refused_by_database"


def test_letters_that_the_database_does_not_have(database: Database, pages: EntitySet) -> None:
    database.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with psycopg.connect(
            database.info.dsn, dbname="latin", password=database.info.password, autocommit=True
        ) as latin:
            latin.execute("CREATE SCHEMA ingestion; CREATE TABLE ingestion.drops (id uuid, state text)")
            (loaded,) = load_drops(latin, pages, landed("PG|é|x|1||\nPG|漢|x|2||\nPG|b|x|3||".encode()))
            assert codes(loaded) == [(2, "refused_by_database", None)]
            assert [row[2] for row in rows(latin, pages, "Page")] == [3, 1]
    finally:
        database.execute("DROP DATABASE latin WITH (FORCE)")


def test_a_result_never_grows_beyond_what_the_ledger_can_hold() -> None:
    faults = [
        Fault(record=n, line=n, offset=0, code="c", message="m", entity=None, field=None, raw=b"x" * 100_000)
        for n in range(1000)
    ]
    loaded = Loaded(
        drop_id=UUID(int=1), records=1000, entities={"": Counts(processed=1000, failed=1000)}, faults=faults
    )
    now = datetime.now(UTC)
    outcome = outcome_of(loaded, received_at=now, finished_at=now)
    listed = outcome.result["errors"]
    assert len(listed) + outcome.result["errors_not_listed"] == len(outcome.rejects) == 1000
    assert sum(len(error["line"]) for error in listed) < 2**24 + 1000
    assert len(outcome.rejects[0].record) == 100_000
