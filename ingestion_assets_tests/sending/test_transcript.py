"""What is read out of broken lines: all that is certain, and nothing made up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.conversations.transcript import split_line

LINE = (
    b'{"type":"user","sessionId":"s","uuid":"u1",'
    b'"message":{"role":"user","content":[{"type":"text","text":"hi"}]}}'
)


def raws(line: bytes, *, terminated: bool = True) -> list[bytes]:
    return [piece.raw for piece in split_line(line, terminated=terminated) if piece.raw is not None]


def codes(line: bytes, *, terminated: bool = True) -> list[str]:
    return [piece.code for piece in split_line(line, terminated=terminated) if piece.code is not None]


@pytest.mark.parametrize("cut", range(1, len(LINE)))
def test_a_line_cut_anywhere_gives_no_object_and_says_so(cut: int) -> None:
    assert raws(LINE[:cut] + b"\n") == []
    assert len(codes(LINE[:cut] + b"\n")) == 1
    assert codes(LINE[:cut], terminated=False) == ["incomplete"]


@pytest.mark.parametrize("cut", range(1, len(LINE)))
def test_a_whole_object_behind_a_stub_cut_anywhere_is_found(cut: int) -> None:
    pieces = split_line(LINE[:cut] + LINE + b"\n")
    assert [piece.raw for piece in pieces] == [None, LINE]
    assert (pieces[0].start, pieces[0].end, pieces[1].end) == (0, cut, cut + len(LINE))
    assert pieces[0].code == "truncated"


@pytest.mark.parametrize(
    "text",
    [
        b'{"seq":9007199254740993,"x":1e400,"y":541.7320345,"z":-0.0}',
        b'{"lone":"\\ud83d","nul":"\\u0000","key.with.dots":{"$a":1}}',
        '{"text":"caf\u00e9 \u2028 \U0001f680"}'.encode(),
    ],
)
def test_objects_pass_byte_for_byte(text: bytes) -> None:
    assert raws(b"\xef\xbb\xbf" + text + b"\r\n") == [text]
    assert raws(text + text + b"\n") == [text, text]
    assert raws(b"\x00" * 500 + text + b"\x00" * 3 + text + b"\n") == [text, text]


@pytest.mark.parametrize(
    "text", [b'{"a":NaN}', b'{"a":Infinity}', b'{"a":01}', b'{"a":"\x01"}', b"{'a':1}", b'{"a":1,}']
)
def test_what_is_not_json_is_not_sent(text: bytes) -> None:
    assert raws(text + b"\n") == []
    assert codes(text + b"\n") == ["invalid_json"]


def test_bad_utf8_is_replaced_and_noted() -> None:
    (piece,) = split_line(b'{"a":"caf\xe9"}\n')
    assert piece.raw == '{"a":"caf\ufffd"}'.encode()
    assert piece.notes == ("invalid_utf8",)
    assert piece.end == 12  # in bytes of the file


@pytest.mark.parametrize("text", [b"null", b"[]", b'"str"', b"42", b"true", b"[[1,2]]"])
def test_other_json_is_named_as_such(text: bytes) -> None:
    assert codes(text + b"\n") == ["not_an_object"]


def test_deep_nesting_is_refused_without_a_crash() -> None:
    assert codes(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n") == ["too_deep"]


@pytest.mark.parametrize(
    "blank", [b"", b"\n", b"\r\n", b"  \t\n", b"\xef\xbb\xbf\r\n", b"\x00" * 700 + b"\n"]
)
def test_blank_lines_hold_nothing(blank: bytes) -> None:
    assert split_line(blank) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(), _JSON, max_size=4), min_size=1, max_size=4),
    st.sampled_from([b"", b" ", b"\x00\x00"]),
)
def test_any_objects_on_one_line_come_apart_again(values: list[dict], glue: bytes) -> None:
    encoded = [json.dumps(value).encode() for value in values]
    assert raws(glue.join(encoded) + b"\n") == encoded
    assert raws(glue.join(encoded), terminated=False) == encoded


@given(st.binary(max_size=200))
def test_any_bytes_are_accounted_for(line: bytes) -> None:
    line = line.replace(b"\n", b"") + b"\n"
    position = 0
    for piece in split_line(line):
        assert position <= piece.start < piece.end <= len(line)
        assert not line[position : piece.start].strip(b" \t\r\n\x00\xef\xbb\xbf")
        position = piece.end
    assert not line[position:].strip(b" \t\r\n\x00\xef\xbb\xbf")
