"""Columns and single lines read the same, whatever stands in the lines and however the formats are."""

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.lines import LONGEST_LINE, LineFault, Row, read_line
from ingestion_assets.entities.parsing import parse
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.test_parsing import PIECES, both_ways, outcome
from ingestion_assets_tests.long_tests import examples

BOM = "\ufeff"


def entity(name: str, prefix: str, *fields: Mapping[str, object], **formats: object) -> Entity:
    named = [{"name": f"f{number}", **field} for number, field in enumerate(fields)]
    return Entity.model_validate(
        {
            "entity": name,
            "prefix": prefix,
            "table": name.lower(),
            "fields": named,
            "primary_key": ["f0"],
            "formats": formats,
        }
    )


TEXT = {"type": "text"}
EMPTY = {"type": "text", "empty": "allowed"}
MAYBE = {"type": "text", "nullable": True}
SHORT = {"type": "string", "length": 3, "nullable": True}
LISTED = {"type": "string", "length": 9, "values": ["", "a", " a", "ü"], "empty": "allowed"}
NUMBERS = [{"type": kind, "nullable": True} for kind in ("smallint", "integer", "bigint")]
ODD = EntitySet.of(
    [
        entity("One", "X", TEXT),
        entity("Pair", "PR", TEXT, TEXT, MAYBE),
        entity("Blank", "B", TEXT, EMPTY, SHORT, MAYBE),
        entity("Ends", "E", TEXT, MAYBE, EMPTY),
        entity("Listed", "LI", LISTED, EMPTY, LISTED),
        entity("Gap", "G", {"type": "decimal", "precision": 10, "scale": 2}, {"type": "date", "nullable": True}, MAYBE,
               decimal=",", group=".", date="%d.%m.%Y", missing="\\N"),
        entity("Counted", "N", {"type": "bigint"}, *NUMBERS, {"type": "boolean", "nullable": True}, missing="-",
               when_true=["yes", "1", ""], when_false=["no", "0"]),
        entity("Times", "T", {"type": "date"}, {"type": "timestamp"}, {"type": "timestamp", "nullable": True},
               {"type": "uuid", "nullable": True}, date="%Y%m%d", timestamp="%d/%m/%Y %H:%M:%S.%f%z"),
        entity("Minutes", "MI", {"type": "timestamp"}, {"type": "timestamp", "nullable": True}, timestamp="%Y-%m-%d %H:%M"),
        entity("Spaced", "SP", {"type": "decimal", "precision": 6, "scale": 0},
               {"type": "decimal", "precision": 4, "scale": 4, "nullable": True}, group=" ", missing="NULL"),
    ]
)  # fmt: skip
VALUES = [
    "", "a", " a", "ü", "\\N", "-", "NULL", "yes", "no", BOM, f"{BOM}a", "a" + BOM, "\u200b", "\u00a0", "\u2028", "\u2029",
    "\x85", "\x0b", "\x0c", "\x1c", "\x1a", "\x7f", "\t", '"', '""', '"a"', "'", "\\", "#", "null", "\u0000", "\r",
    "e\u0301", "\u0130", "\ud7ff", "\ue000", "\U0010ffff", "\uffff", "0", "-0", "+0", "00", "+7", "--7", "+-7", "7-", "1 ", " 1", "0x1", "1e3", "1_000",
    "1.", ".1", ",1", "1,", "1,5", "1.000", "1.000,50", "10.00", "1 000", "1  000", "1\u00a0000", "12345678901234567890", "1,50000000000",
    "\u0661\u0662", "\uff11", "\u00b2", "NaN", "Infinity", "0,00", "-,5", "+,5", "19960102", "19960230", "00000101", "01.02.2020",
    "1.2.2020", "31.12.9999", "29.02.1900", "01/02/2020 03:04:05.6Z", "01/02/2020 03:04:05.123456+01:00", "01/02/2020 03:04:05.1234567Z",
    "01/01/0001 00:00:00.0+0001", "31/12/9999 23:59:59.999999-2359", "01/02/2020 03:04:60.0Z", "01/02/2020 24:00:00.0Z", "01/02/2020 03:04:05.6z",
    "01/02/2020  03:04:05.6Z", "2020-02-01 03:04", "2020-02-01 24:00", "2020-02-01 03:60", "0000-02-01 03:04", "20200201T", "2020-02-01\u00a003:04",
    "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f", "0197B0C0-6D2E-7C6E-9D6E-0A1B2C3D4E5F", "0197b0c06d2e7c6e9d6e0a1b2c3d4e5f", "{0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f}",
]  # fmt: skip
FIELD = (
    st.sampled_from(VALUES)
    | st.sampled_from(PIECES).map(lambda raw: raw.decode(errors="replace"))
    | st.text(max_size=4)
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Lines of all entities with about the right number of fields, well and badly ended."""
    body = draw(st.sampled_from(["", "", "", BOM, BOM + BOM, "\n", "\r"]))
    for _ in range(draw(st.integers(1, 10))):
        one = draw(st.sampled_from(ODD.entities))
        count = max(0, len(one.fields) + draw(st.sampled_from([0, 0, 0, 0, -1, -2, 1, 2])))
        fields = [draw(FIELD).replace("\n", "") for _ in range(count)]
        if fields and draw(st.booleans()):
            fields[0] = draw(st.sampled_from(["1", "a", f"{BOM}1", "19960102", "2020-02-01 03:04"]))
        start = draw(st.sampled_from(["", "", "", "", " ", BOM, "#"]))
        body += (
            start
            + "|".join([one.prefix, *fields])
            + draw(st.sampled_from(["\n", "\n", "|\n", "\r\n", "|\r\n", "\r\r\n", "\n \t\n", ""]))
        )
    return body.encode()


@settings(max_examples=examples(600), deadline=None)
@given(bodies())
@example(b"# no line\r, only this\0")
@example(f"PR|{BOM}k|b|c\nPR|{BOM}k|b\n".encode())
@example(f"PR|{BOM}k|b\nPR|{BOM}l|b\nPR|\uf900|b\nPR|m|b\n".encode())
@example(f"X|{BOM}\nX|{BOM}a|\nX|\n".encode())
@example(b"G|3,0|01.02.2020|\nG|4,0|\nG|5,0|\\N|\nG|6,0|01.02.2020||\n")
@example(b"B|a|||\nB|a|\nB|a||\nB|a|||x\nB|a\nE|a||\nE|a|x|\nE|a|x\n")
def test_columns_and_lines_agree_whatever_stands_in_them(body: bytes) -> None:
    both_ways(body, ODD)


def values(text: str) -> list[tuple[str | None, ...] | str]:
    """What is read of each line, both ways: its values, or the code of what is wrong."""
    found = []
    for few_bytes in (0, 10**6):
        read = outcome(parse(text.encode(), ODD, few_bytes=few_bytes))
        found.append([_told(one) for _, one in sorted(read.items())])
    assert found[0] == found[1]
    return found[0]


def _told(one: object) -> Any:
    return one.values if isinstance(one, Row) else one.code if isinstance(one, LineFault) else one


def test_a_byte_order_mark_within_a_text_belongs_to_the_value() -> None:
    assert values(f"{BOM}PR|{BOM}k|b|{BOM}\nPR|{BOM}k|{BOM}b\n{BOM}PR|k|b") == [
        (f"{BOM}k", "b", BOM), (f"{BOM}k", f"{BOM}b", None), "unknown_prefix",
    ]  # fmt: skip
    fault = read_line(ODD, f"{BOM}PR|k|b".encode())
    assert isinstance(fault, LineFault)
    assert fault.message.endswith('got "\\ufeffPR"')


@pytest.mark.parametrize("few_bytes", [0, 10**6])
def test_a_later_part_of_a_stream_has_no_byte_order_mark(few_bytes: int) -> None:
    parsed = parse(f"{BOM}PR|k|b\n".encode(), ODD, begins=False, few_bytes=few_bytes)
    assert [fault.code for fault in parsed.faults.values()] == ["unknown_prefix"]


def test_one_trailing_pipe_is_no_field_wherever_the_line_may_end() -> None:
    assert values("G|3,0|01.02.2020|\nG|4,0|\nG|5,0|\\N|\nG|6,0|01.02.2020||\nG|7,0||") == [
        ("3.0", "2020-02-01", None), ("4.0", None, None), ("5.0", None, None), ("6.0", "2020-02-01", ""), "not_a_date",
    ]  # fmt: skip


def test_an_empty_text_is_a_value_where_the_definition_allows_it() -> None:
    assert values("B|a|||\nB|a|\nB||x\nE|a|x|\nE|a||\nE|a|x\nLI|||\nLI||x|b") == [
        ("a", "", None, None), ("a", "", None, None), "missing_value", ("a", "x", ""), ("a", None, ""), "too_few_fields",
        ("", "", ""), "not_allowed",
    ]  # fmt: skip
    order = read_line(TPCH, b"O|1|100|O|123.45|1996-01-02|5-LOW|Clerk|0|")
    assert isinstance(order, Row)
    assert order.values[-1] == ""


def test_a_line_over_the_limit_is_rejected_and_the_others_are_read() -> None:
    long = b"PR|k|" + b"x" * LONGEST_LINE
    for few_bytes in (0, 10**9):
        read = outcome(parse(b"PR|a|b\n" + long + b"\nPR|c|d\n", ODD, few_bytes=few_bytes))
        told = [_told(one) for _, one in sorted(read.items())]
        assert told == [("a", "b", None), "line_too_long", ("c", "d", None)]


ORDERS = ["O|1|100|O|123.45|1996-01-02|5-LOW|Clerk|0|among", "O|2|100|O|123.45|1996-01-02|5-LOW|Clerk|0|more"]


@pytest.mark.parametrize("few_bytes", [0, 10**6])
@pytest.mark.parametrize("between", ["", "|"])
def test_lines_without_their_ends_get_a_hint(between: str, few_bytes: int) -> None:
    (fault,) = parse(between.join(ORDERS).encode(), TPCH, few_bytes=few_bytes).faults.values()
    assert fault.code == "too_many_fields"
    assert "curl --data-binary" in fault.message
    for text in (f"{ORDERS[0]}|x", f"{ORDERS[0]}|x|O|1\n", "\n".join((f"{ORDERS[0]}{ORDERS[1]}", ORDERS[1]))):
        assert all(
            "curl" not in one.message
            for one in parse(text.encode(), TPCH, few_bytes=few_bytes).faults.values()
        )


def test_both_ways_store_the_same(database: "psycopg.Connection[Any]") -> None:
    lines = ["B|{}|||", 'B|{}||"|x', "B|{}|x|\\N|", "B|{}|NULL|,|null", "B|{}|" + BOM + "| \t|\u2028"]
    few = [line.format(f"{BOM}few{number}") for number, line in enumerate(lines)]
    many = [line.format(f"{BOM}many{number}") for number, line in enumerate(lines)]
    many += [f"B|x{number}|{'y' * 40}" for number in range(1000)]
    for text in (few, many):
        (loaded,) = load_drops(database, ODD, landed("\n".join(text).encode()))
        assert not loaded.faults
    stored = rows(database, ODD, "Blank")
    kept = {name: [row[1:] for row in stored if row[0].startswith(BOM + name)] for name in ("few", "many")}
    assert kept["few"] == kept["many"]
    assert kept["few"][0] == ("", None, None)
