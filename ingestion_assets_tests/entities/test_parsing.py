"""Lines to values: exact errors, and the same result whether a payload is read in columns or line by line."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.lines import GLUED, LineFault, Row, read_line, records
from ingestion_assets.entities.parsing import Parsed, parse
from ingestion_assets_tests.entities.definitions import TPCH, WORKSHOP
from ingestion_assets_tests.long_tests import examples

ORDER = b"O|1|100|O|123.45|1996-01-02|5-LOW|Clerk#000000951|0|nstructions sleep"
MACHINE = b"M|0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f||DE|7|J|2026-01-31 09:30:00.5|0,25|"
READING = b"R|0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f|31.01.2026 09:30:00+0130|-1.5"
SITE = b'SITE|DE|7|M\xc3\xbcnchen "Nord"|31.01.2026|1.234,5'
PIECES = [
    b"", b"|", b"||", b"\n", b"\r\n", b"\r", b"\0", b'"', b"'", b"\\", b"\\N", b"\\.", b"\t", b" ", b"#", b",", b";",
    b"\xff", b"\xc3\xbc", b"\xc3", b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80", "\u0661".encode(), "\u2028".encode(),
    b"0", b"-0", b"+7", b"007", b"1e5", b"1_0", b"NaN", b"inf", b" 1", b"1 ", b"99999999999999999999", b"-32768", b"32768",
    b"9223372036854775807", b"9223372036854775808", b"1.5", b"1.50", b"1.555", b".5", b"5.", b"1,5", b"1.234,5", b"12.34,5",
    b"0000000000000000000000.5", b"99999999999999.99", b"1996-02-30", b"1996-2-3", b"0000-01-01", b"0001-01-01", b"9999-12-31",
    b"29.02.2023", b"29.02.2024", b"01.01.0000", b"01.01.0001 00:00:00+2359", b"31.12.9999 23:59:59-0001", b"01.01.2026 24:00:00Z",
    b"01.01.2026 23:59:60Z", b"01.01.2026 00:00:00+01:30", b"2026-01-31 09:30:00.1234567", b"2026-01-31 09:30:00.000001",
    b"J", b"N", b"true", b"DE", b"XX", b"null", b"NULL", b"0197B0C0-6D2E-7C6E-9D6E-0A1B2C3D4E5F", b"x" * 13, "ü".encode() * 12,
    b"O", b"L", b"C", b"P", b"M", b"R", b"SITE", b"S",
]  # fmt: skip


@st.composite
def hazards(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Good lines with some fields replaced, joined by all kinds of line ends, and rubbish between."""
    body = b"\xef\xbb\xbf" if draw(st.booleans()) and draw(st.booleans()) else b""
    for _ in range(draw(st.integers(1, 12))):
        fields = draw(st.sampled_from(good)).split(b"|")
        for _ in range(draw(st.integers(0, 2))):
            fields[draw(st.integers(0, len(fields) - 1))] = draw(
                st.one_of(st.sampled_from(PIECES), st.binary(max_size=6), st.text(max_size=6).map(str.encode))
            )
        line = b"|".join(fields[: draw(st.integers(len(fields) - 1, len(fields)))])
        body += line + draw(
            st.sampled_from([b"\n", b"\n", b"|\n", b"\r\n", b"|\r\n", b"\n\n", b"\r\r\n", b"\n# x\n", b""])
        )
    return body


def outcome(parsed: Parsed) -> dict[int, object]:
    """What became of each record."""
    found: dict[int, object] = dict(parsed.faults)
    for rows in parsed.rows:
        for record, values in zip(rows.records, rows.tuples(), strict=True):
            assert int(record) not in found
            found[int(record)] = Row(rows.entity, values)
    return found


def both_ways(body: bytes, entities: EntitySet) -> None:
    """Columns and single lines agree, with each other and with reading every line for itself."""
    columns, single = parse(body, entities, few_bytes=0), parse(body, entities, few_bytes=len(body) + 1)
    wanted = list(records(body))
    assert columns.count == single.count == len(wanted)
    assert [columns.line(n) for n in range(columns.count)] == wanted
    read = {index: read_line(entities, line.raw) for index, line in enumerate(wanted)}
    assert outcome(single) == outcome(columns)
    assert {record: _as_read(one) for record, one in outcome(columns).items()} == read


def _as_read(one: object) -> object:
    """Without the hint that only a whole payload can give."""
    return replace(one, message=one.message.removesuffix(GLUED)) if isinstance(one, LineFault) else one


@settings(max_examples=examples(300), deadline=None)
@given(hazards([ORDER, b"C|1|n|a|3|p|-7.10|BUILDING|  c ", ORDER + b"|"]))
@example(b"\xef\xbb\xbf" + ORDER + b"\n\n")
@example(b"\n")
def test_columns_and_lines_agree_on_tpch(body: bytes) -> None:
    both_ways(body, TPCH)


@settings(max_examples=examples(500), deadline=None)
@given(hazards([SITE, MACHINE, READING, MACHINE + b"note"]))
def test_columns_and_lines_agree_on_the_workshop(body: bytes) -> None:
    both_ways(body, WORKSHOP)


@pytest.mark.parametrize(
    ("raw", "code", "message"),
    [
        (ORDER.replace(b"|100|", b"|abc|"), "not_an_integer", 'expected integer in field 3 (customer_key), got "abc"'),
        (ORDER.replace(b"|100|", b"||"), "missing_value", "expected a value in field 3 (customer_key), got nothing"),
        (ORDER.replace(b"123.45", b"1.234"), "too_precise", 'expected decimal with at most 2 decimals in field 5 (total_price), got "1.234"'),
        (ORDER.replace(b"1996-01-02", b"1996-02-30"), "not_a_date", 'expected date written %Y-%m-%d in field 6 (order_date), got "1996-02-30"'),
        (ORDER.replace(b"5-LOW", b"x" * 16), "too_long", f'expected at most 15 characters in field 7 (order_priority), got "{"x" * 16}"'),
        (ORDER + b"|x|", "too_many_fields", "expected 10 fields separated by `|`, got 12"),
        (b"O|1", "too_few_fields", "expected 10 fields separated by `|`, got 2"),
        (b"X|1", "unknown_prefix", 'expected a line that begins with one of C, L, O, P and `|`, got "X"'),
        (ORDER + b"\xff", "not_utf8", f"not valid UTF-8: invalid start byte at byte {len(ORDER) + 1} of the line"),
    ],
)  # fmt: skip
def test_errors_say_what_and_where(raw: bytes, code: str, message: str) -> None:
    fault = read_line(TPCH, raw)
    assert isinstance(fault, LineFault)
    assert (fault.code, fault.message) == (code, message)


def test_values_reach_postgres_as_they_were_written() -> None:
    row = read_line(WORKSHOP, SITE)
    assert isinstance(row, Row)
    assert row.values == ("DE", "7", 'München "Nord"', "2026-01-31", "1234.5")
    row = read_line(WORKSHOP, READING)
    assert isinstance(row, Row)
    assert row.values[1] == "2026-01-31T08:00:00.000000+00:00"


def test_trailing_nullable_fields_may_be_left_out() -> None:
    row = read_line(WORKSHOP, b"|".join(MACHINE.split(b"|")[:6]))
    assert isinstance(row, Row)
    assert row.values[5:] == (None, None, None)
