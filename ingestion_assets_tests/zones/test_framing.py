"""Bytes into records, exactly."""

import csv
import io
import json
import time
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.zones.framing import UnreadableError, check_path, frame, kind_of

JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(st.lists(OBJECTS, min_size=1), st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_records_are_what_was_sent(records, indent, ascii_only, marked):
    mark = b"\xef\xbb\xbf" if marked else b""

    def text(value):
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    def read(body, media_type, path="$"):
        return [
            json.loads(one)
            for one in frame(mark + body.encode("utf-8", "surrogatepass"), media_type=media_type, path=path)
        ]

    assert read(text(records), JSON) == records
    assert read(text(records), JSON, "$[*]") == records
    assert read(text(records[0]), "application/cloudevents+json; charset=utf-8") == records[:1]
    assert read(text({"a": [1, {"b": records}]}), JSON, "$.a[1].b[*]") == records
    assert read(text({"a": [{"b": one} for one in records]}), JSON, "$.a[*].b") == records
    lines = "\r\n\n".join(json.dumps(one, ensure_ascii=ascii_only) for one in records)
    assert read(lines, LINES) == records


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), max_size=5))
def test_rows_of_csv_are_objects_of_texts(rows):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["a", "b b"], *rows])
    records = [json.loads(one) for one in frame(out.getvalue().encode(), media_type=CSV)]
    expected = [{name: value for name, value in zip(["a", "b b"], row, strict=True) if value} for row in rows]
    assert records == expected


def test_numbers_stay_exact():
    body = b'{"items": [{"i": 9007199254740993123456789, "d": 0.1000000000000000000000000001, "e": 1e400}]}'
    (record,) = frame(body, media_type=JSON, path="$.items[*]")
    assert record == body[11:-2]
    (found,) = frame(body, media_type=JSON, path="$.items[?@.i > 1]")  # read and written again
    read = msgspec.json.Decoder(float_hook=Decimal).decode(found)
    assert read == {
        "i": 9007199254740993123456789,
        "d": Decimal("0.1000000000000000000000000001"),
        "e": Decimal("1e400"),
    }


def test_paths_beyond_names():
    body = b'{"a": {"k": "x", "v": [{"n": 1}]}, "b": [{"k": "x"}, {"k": "y"}]}'
    assert frame(body, media_type=JSON, path="$.b[?@.k == 'y']") == [b'{"k":"y"}']
    assert frame(body, media_type=JSON, path="$..v[*]") == [b'{"n":1}']
    assert frame(body, media_type=JSON, path="$.b[-1]") == [b'{"k": "y"}']
    assert frame(body, media_type=JSON, path="$.b[?@.k == 'z']") == []


@pytest.mark.parametrize("path", ["", "items", "$.items[", "$.a | $.b", "$x"])
def test_what_is_no_path_is_said(path):
    with pytest.raises(ValueError, match="is no JSONPath"):
        check_path(path)


@pytest.mark.parametrize(
    ("body", "media_type", "path", "says"),
    [
        (b"", JSON, "$", "empty"),
        (b" \n ", LINES, "$", "empty"),
        (b'{"a": 1', JSON, "$", "no JSON"),
        (b'{"a": 1} x', JSON, "$", r"byte 10\); send several values as JSON lines"),
        (b'\xef\xbb\xbf{"a": 1} x', JSON, "$", r"byte 13"),
        (b"[" * 50_000, JSON, "$", "nested too deeply"),
        (b"x\n\ny", LINES, "$", "no line of the body is JSON, from line 1 to line 3"),
        (b'{"a": 1}', JSON, "$.items[*]", r"nothing at \$.items"),
        (b'{"items": {"a": 1}}\n{"x": 2}', LINES, "$.items", r"line 2: .*nothing at \$.items"),
        (b'a,b\n"1', CSV, "$", "no CSV at line 2"),
        (b"a,b,a\n1,2,3", CSV, "$", "places 1 and 3 one name"),
        (b"a,\n1,2", CSV, "$", "no column at place 2"),
        (b"a,b\n\xff,2", CSV, "$", "not UTF-8 at byte 4"),
        (b"a", "text/csv; charset=nonsense", "$", "charset"),
        (b"a", "image/png", "$", "not taken"),
    ],
)
def test_what_is_no_payload_is_said(body, media_type, path, says):
    with pytest.raises(UnreadableError, match=says):
        frame(body, media_type=media_type, path=path)


def test_nothing_of_the_body_is_said():
    for body, media_type in (
        (b'{"password": hunter2}', JSON),
        (b"hunter2", LINES),
        (b'a\n"hunter2"x', CSV),
        (b"hunter2,hunter2", CSV),
    ):
        with pytest.raises(UnreadableError) as raised:
            frame(body, media_type=media_type)
        assert "hunter2" not in str(raised.value)


def test_a_bad_line_is_a_record_of_its_own():
    assert frame(b'{"a": 1}\nnonsense\n\n{"a": 2', media_type=LINES) == [b'{"a": 1}', b"nonsense", b'{"a": 2']
    assert frame(b'{"a": [1, 2]}\nnonsense', media_type=LINES, path="$.a[*]") == [b"1", b"2", b"nonsense"]


@pytest.mark.parametrize("path", ["$", "$.a"])
def test_half_a_surrogate_pair_harms_its_own_record_alone(path):
    records = b'[{"a": "\\ud83d\\ude00"}, {"a": "\\ud800"}, {"a": "\\\\ud800"}]'
    body = records if path == "$" else b'{"a": ' + records + b"}"
    found = frame(body, media_type=JSON, path=path)
    assert found == [b'{"a": "\\ud83d\\ude00"}', b'{"a": "\\ud800"}', b'{"a": "\\\\ud800"}']
    assert frame(b'{"a": "\\ud800"}\n', media_type=LINES) == [b'{"a": "\\ud800"}']


def test_a_row_with_other_fields_than_the_first_line_is_told_apart():
    assert frame(b"a,b\n1,2\n\n3\n", media_type=CSV) == [b'{"a":"1","b":"2"}', b'["3"]']
    assert frame(b"a,b\n", media_type=CSV) == []
    assert frame("a,b\nä,\n".encode("latin-1"), media_type="text/csv; charset=iso-8859-1") == [
        '{"a":"ä"}'.encode()
    ]


def test_media_types():
    assert kind_of("Application/JSON; charset=utf-8") == kind_of("application/vnd.example+json") == "json"
    assert kind_of("text/plain") is None


@pytest.mark.parametrize("media_type", [JSON, LINES, CSV])
def test_a_hundred_thousand_records_take_well_under_a_second(media_type):
    records = [
        {"id": number, "name": f"name {number}", "at": "2026-01-01T00:00:00Z"} for number in range(100_000)
    ]
    body = {
        JSON: lambda: msgspec.json.encode(records),
        LINES: lambda: b"\n".join(map(msgspec.json.encode, records)),
        CSV: lambda: b"id,name,at\n" + b"".join(b"%d,name,2026-01-01\n" % one["id"] for one in records),
    }[media_type]()
    started = time.process_time()
    assert len(frame(body, media_type=media_type)) == 100_000
    assert time.process_time() - started < 0.7
