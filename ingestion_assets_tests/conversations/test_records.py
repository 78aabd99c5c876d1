"""What a message must be, and what is stored of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.conversations.envelope import messages_in_batch
from ingestion_assets.conversations.json_values import storable
from ingestion_assets.conversations.message_text import plain_text
from ingestion_assets.conversations.projects import UNKNOWN, project_of
from ingestion_assets.conversations.records import (
    MAX_DEPTH,
    Invalid,
    Record,
    message_id,
    original,
    parse,
    same_content,
    stamped,
)
from ingestion_assets.conversations.schema import decode_body, decode_envelope
from ingestion_assets.conversations.shapes import paths_of
from ingestion_assets.conversations.timestamps import parse_timestamp
from ingestion_assets_tests.conversations.stored import landed

DROP = landed([])


def accepted(record: Any, **options: Any) -> Record:
    parsed = parse(record if isinstance(record, bytes) else json.dumps(record).encode(), **options)
    assert isinstance(parsed, Record), parsed
    return parsed


def stored(record: Record) -> dict[str, Any]:
    encoded = stamped(record, drop_id=DROP.id, position=3)
    assert isinstance(encoded, bytes)
    return bson.decode(encoded)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (b"{", "not_json"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        ({}, "missing_type"),
        ({"type": ""}, "missing_type"),
        ({"type": 4}, "missing_type"),
        ({"type": "user", "uuid": ""}, "empty_uuid"),
        ({"type": "user", "uuid": "x" * 129}, "uuid_too_long"),
        ({"type": "user", "timestamp": "yesterday"}, "invalid_timestamp"),
        ({"type": "user", "timestamp": ""}, "invalid_timestamp"),
        ({"type": "user", "timestamp": True}, "invalid_timestamp"),
        ({"type": "user", "timestamp": 10**30}, "invalid_timestamp"),
        ({"type": "user", "timestamp": "2026-06-30T12:00:60Z"}, "invalid_timestamp"),
        ({"type": "user", "timestamp": "2026-06-30T24:00:01Z"}, "invalid_timestamp"),
        ({"type": "user", "timestamp": "202606301200"}, "invalid_timestamp"),
        ({"type": "user", "timestamp": "9999-12-31T24:00:00Z"}, "invalid_timestamp"),
        ({"type": "assistant", "uuid": "a"}, "missing_message"),
        ({"type": "assistant", "uuid": "a", "message": None}, "missing_message"),
        ({"type": "user", "costUSD": "0.1"}, "invalid_cost"),
        ({"type": "user", "costUsd": True}, "invalid_cost"),
        ({"type": "user", "costUsd": -0.01}, "cost_out_of_range"),
        ({"type": "user", "costUsd": 100.01}, "cost_out_of_range"),
        (b'{"type": "user", "costUsd": 1e400}', "cost_out_of_range"),
        ({"type": "user", "message": "x" * (16 * 2**20)}, "too_large"),
        (
            {"type": "user", "message": "x" * (16 * 2**20 - 2000)},
            "too_large",
        ),  # no room for what is added later
    ],
)
def test_what_fails_and_with_which_code(record: Any, code: str) -> None:
    parsed = parse(record if isinstance(record, bytes) else json.dumps(record).encode())
    if isinstance(parsed, Record):
        parsed = stamped(parsed, drop_id=DROP.id, position=0)
    assert isinstance(parsed, Invalid)
    assert parsed.code == code
    assert parsed.reason


@pytest.mark.parametrize(
    "record",
    [
        {"type": "user", "uuid": "x" * 128, "sessionId": "s"},
        {"type": "user", "uuid": None, "timestamp": None, "sessionId": None, "costUSD": None},
        {"type": "user", "costUsd": 0}, {"type": "user", "costUsd": 100}, {"type": "user", "message": "text"},
        {"type": "user", "toolUseResult": [{"type": "text"}]}, {"type": "user", "toolUseResult": "Error: no"},
        {"type": "made-up-yesterday"}, {"type": "user", "uuid": 7, "sessionId": ["odd"]},
        {"type": "user", "sessionId": "s" * 5000}, {"type": "user", "version": 5, "cwd": 3},
        {"type": "assistant", "message": {"usage": {"input_tokens": "many", "output_tokens": -3}}},
        {"type": "cost-state", "totalCostUSD": "free"},
    ],
)  # fmt: skip
def test_everything_else_is_stored_as_it_is(record: dict[str, Any]) -> None:
    assert original(stored(accepted(record))) == record


def test_an_unknown_type_is_stored_with_a_warning() -> None:
    assert accepted({"type": "made-up-yesterday"}).warnings == ("unknown_type",)


def test_depth_is_counted_and_not_guessed_from_brackets() -> None:
    def nested(levels: int) -> dict[str, Any]:
        inner: Any = "[[[{{{" * 200
        for _ in range(levels - 1):
            inner = [inner]
        return {"type": "user", "x": inner}

    assert original(stored(accepted(nested(MAX_DEPTH)))) == nested(MAX_DEPTH)
    too_deep = parse(json.dumps(nested(MAX_DEPTH + 1)).encode())
    assert isinstance(too_deep, Invalid)
    assert too_deep.code == "too_deep"
    far = parse(b'{"type":"user","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert isinstance(far, Invalid)
    assert far.code == "too_deep"


def test_numbers_that_bson_has_no_number_for_come_back() -> None:
    raw = b'{"type":"user","a":9007199254740993,"b":18446744073709551616,"c":-123456789012345678901234567890123456789'
    raw += b',"e":541.7320345,"f":[9223372036854775808],"g":-%b}' % (b"9" * 4300)
    assert original(stored(accepted(raw))) == json.loads(raw)


@pytest.mark.parametrize("number", ["1e400", "-1.5E+999", "-" + "9" * 5000])
def test_numbers_that_python_has_no_number_for_come_back_as_they_were_written(number: str) -> None:
    def line(written: str) -> Record:
        return accepted(f'{{"type":"user","uuid":"u","sessionId":"s","message":{{"n":{written}}}}}'.encode())

    document = stored(line(number))
    assert str(original(document)["message"]["n"]) == number
    assert not isinstance(original(document)["message"]["n"], str)
    assert same_content(document, line(number))
    assert not same_content(document, line(number + "0"))


def test_keys_with_dots_dollars_and_paths_come_back() -> None:
    record = {
        "type": "user",
        "$set": {"a.b": 1, "/home/x.py": {"$": 2, "": 3}},
        "_id": "mine",
        "sessionId": "s",
    }
    document = stored(accepted(record))
    assert original(document) == record
    assert document["_id"].startswith("s/")


def test_nuls_and_lone_surrogates_are_replaced_with_a_warning() -> None:
    record = accepted(rb'{"type":"user","uuid":"u","k\u0000":"a\u0000b","m":"cut \ud83d"}')
    assert original(stored(record)) == {"type": "user", "uuid": "u", "k�": "a�b", "m": "cut �"}
    assert set(record.warnings) == {"nul_replaced", "lone_surrogate_replaced"}
    assert accepted(rb'{"type":"user","m":"literal \\u0000"}').warnings == ()


def test_a_lone_surrogate_does_not_sink_its_batch() -> None:
    envelope = decode_envelope(
        b'{"messages":[{"type":"user","m":"\\ud83d"},{"type":"user","n":1}],"sessionId":"s"}'
    )
    assert [accepted(bytes(raw)).warnings for raw in envelope.messages] == [("lone_surrogate_replaced",), ()]
    assert envelope.sessionId == "s"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(alphabet="ab.$\\/ é"), JSON, max_size=5))
def test_any_object_comes_back_unchanged_but_for_what_is_replaced(extra: dict[str, Any]) -> None:
    def replaced(value: Any) -> Any:
        return json.loads(
            json.dumps(value, ensure_ascii=False).replace("\\u0000", "�").encode("utf-8", "replace")
        )

    record = {**extra, "type": "user", "uuid": "u"}
    assert original(stored(accepted(record))) == replaced(record)


def test_identity() -> None:
    line = {"type": "mode", "mode": "plan", "sessionId": "s"}
    same = accepted({"sessionId": "s", "mode": "plan", "type": "mode"})
    assert accepted(line).id == same.id
    assert accepted({**line, "mode": "normal"}).id != same.id
    assert accepted({"type": "mode"}, default_session="file").session_id == "file"
    assert accepted({**line, "sessionId": "own"}, default_session="file").session_id == "own"
    assert message_id("a/b", "c") != message_id("a", "b/c")
    assert message_id("a%2Fb", "c") != message_id("a/b", "c")
    summary = {"type": "summary", "summary": "S", "leafUuid": "leaf"}
    assert accepted(summary, default_session="one").id == accepted(summary, default_session="two").id
    assert stored(accepted(summary))["waiting_for"] == "leaf"
    assert stored(accepted(summary, default_session="one"))["sessionId"] is None


def test_the_hash_covers_uuid_type_moment_and_message_only() -> None:
    line = {"type": "user", "uuid": "u", "timestamp": "2026-01-01T10:00:00Z", "message": {"a": 1, "b": 2}}
    first = accepted(line).content_hash
    assert accepted({**line, "timestamp": "2026-01-01T12:00:00+02:00", "cwd": "/x"}).content_hash == first
    assert accepted({**line, "message": {"b": 2, "a": 1}}).content_hash == first
    assert accepted({**line, "message": {"a": 1}}).content_hash != first


@pytest.mark.parametrize("kind", ["attachment", "progress", "system", "made-up"])
def test_the_hash_of_a_line_without_message_covers_all_of_it(kind: str) -> None:
    line = {"type": kind, "uuid": "u", "timestamp": "2026-01-01T10:00:00Z", "data": {"n": 0}}
    first = accepted(line).content_hash
    assert accepted({**line, "timestamp": "2026-01-01T12:00:00+02:00"}).content_hash == first
    assert accepted({**line, "data": {"n": 1}}).content_hash != first
    assert accepted({**line, "content": "more"}).content_hash != first


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2026-01-01T10:00:00.123Z", datetime(2026, 1, 1, 10, 0, 0, 123000, UTC)),
        ("2026-01-01T10:00:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01T10:00:00-05:00", datetime(2026, 1, 1, 15, tzinfo=UTC)),
        (1789398960924, datetime(2026, 9, 14, 15, 16, 0, 924000, UTC)),
        (1789398960, datetime(2026, 9, 14, 15, 16, 0, 0, UTC)),
        (1789398960924000, datetime(2026, 9, 14, 15, 16, 0, 924000, UTC)),
        ("1789398960924", datetime(2026, 9, 14, 15, 16, 0, 924000, UTC)),
        ("1712010100000", datetime(2024, 4, 1, 22, 21, 40, 0, UTC)),  # ISO 8601 of 1712 to some readers
        ("1789398960", datetime(2026, 9, 14, 15, 16, tzinfo=UTC)),
        ("1789398960.5", datetime(2026, 9, 14, 15, 16, 0, 500000, UTC)),
        ("20260101", datetime(2026, 1, 1, tzinfo=UTC)),
        ("20260101100000", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01t10:00:00z", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01 10:00:00.5Z", datetime(2026, 1, 1, 10, 0, 0, 500000, UTC)),
        ("2026-06-30T23:59:60Z", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-06-30T18:59:60.25-05:00", datetime(2026, 7, 1, 0, 0, 0, 250000, UTC)),
        ("2026-01-28T02:50:16.160Z", datetime(2026, 1, 28, 2, 50, 16, 160000, UTC)),
        ("2026-02-28T24:00:00Z", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-02-28T24:00", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-02-28T12:24:00Z", datetime(2026, 2, 28, 12, 24, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_timestamps(given: Any, wanted: datetime | None) -> None:
    assert parse_timestamp(given) == wanted


@pytest.mark.parametrize(
    ("cwd", "path", "name"),
    [
        ("/Users/u/projects/shop/src/api", "/Users/u/projects/shop", "shop"),
        ("/Users/u/projects", "/Users/u/projects", "projects"),
        ("/srv/tool/", "/srv/tool", "tool"),
        ("/", "/", "/"),
        ("C:\\Users\\u\\projects\\shop\\src", "C:\\Users\\u\\projects\\shop", "shop"),
        ("C:/code/projects/a/b", "C:\\code\\projects\\a", "a"),
        ("c:\\code\\Projects\\a\\", "C:\\code\\Projects\\a", "a"),
        ("\\\\?\\C:\\code\\a", "C:\\code\\a", "a"),
        ("c:", "C:\\", "C:"),
        ("//srv//tool/./x/..", "/srv/tool", "tool"),
        ("/srv/cafe\u0301", "/srv/caf\u00e9", "caf\u00e9"),
        ("/w/shop/.claude/worktrees/x/src", "/w/shop", "shop"),
        ("/w/shop/.worktrees/someone/branch", "/w/shop", "shop"),
        ("/w/shop.worktrees/x", "/w/shop", "shop"),
        ("C:\\w\\shop.worktrees\\x", "C:\\w\\shop", "shop"),
        ("/home/u/projects/shop.worktrees/x", "/home/u/projects/shop", "shop"),
        ("/.worktrees/x", "/.worktrees/x", "x"),
        ("/w/shop/.worktrees", "/w/shop/.worktrees", ".worktrees"),
        ("/mnt/c/code/a", "/mnt/c/code/a", "a"),
        ("\\\\server\\share\\tool", "\\\\server\\share\\tool", "tool"),
        ("/home/u/back\\slash", "/home/u/back\\slash", "back\\slash"),
        (None, None, UNKNOWN),
        ("", None, UNKNOWN),
    ],
)
def test_projects(cwd: str | None, path: str | None, name: str) -> None:
    project = project_of(cwd)
    assert (project.path, project.name) == (path, name)


def test_spellings_of_a_windows_directory_are_one_project() -> None:
    spelled = ["C:\\Users\\dev\\site", "c:/users/dev/site/", "C:\\Users\\dev\\\\x\\..\\Site"]
    assert len({project_of(cwd).id for cwd in spelled}) == 1
    assert project_of("/srv/Tool").id != project_of("/srv/tool").id


def test_worktrees_may_be_projects_of_their_own() -> None:
    assert project_of("/w/shop/.worktrees/x", worktrees=False).path == "/w/shop/.worktrees/x"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("a < b && c", "a < b && c"),
        ("<b>bold</b> <script>alert(1)</script>text", "bold text"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;x", "x"),
        ("one\n\n two\tthree", "one two three"),
        ("x" * 400, "x" * 279 + "…"),
        ("<img src=x onerror=alert(1)>", ""),
    ],
)
def test_previews_are_plain_and_short(text: str, wanted: str) -> None:
    assert plain_text(text) == wanted


def test_sanitizing_strips_active_html_and_keeps_the_structure() -> None:
    record = {
        "type": "user",
        "uuid": "u",
        "message": {"content": [{"text": "hi <script>x()</script><b>b</b>"}], "n": 1},
    }
    plain, clean = accepted(record), accepted(record, sanitize=True)
    assert original(stored(plain)) == record
    assert original(stored(clean))["message"] == {"content": [{"text": "hi <b>b</b>"}], "n": 1}
    assert plain.content_hash == clean.content_hash


def test_corrupt_files_dropped_as_they_are_give_every_whole_object(shared_data: Path) -> None:
    kept = {}
    for path in sorted((shared_data / "conversations" / "corruption").glob("*.jsonl")):
        parsed = [parse(bytes(raw)) for raw in decode_body(path.read_bytes()).messages]
        kept[path.stem] = sum(isinstance(one, Record) for one in parsed)
    assert kept == {
        "bigint-and-float": 1, "bom-crlf-blank": 2, "empty": 0, "escaped-nul-u0000": 2, "invalid-utf8": 2,
        "lone-high-surrogate": 2, "no-final-newline": 2, "non-object-lines": 1, "nul-run-line": 2, "nul-run-prefix": 3,
        "stub-then-object-on-one-line": 3, "truncated-last-line": 1, "truncated-middle-line": 2,
        "two-objects-on-one-line": 3,
    }  # fmt: skip


def test_a_payload_is_a_batch_a_single_message_or_lines() -> None:
    line = b'{"type":"user","uuid":"a","todos":[{"content":"x"}]}'
    for body in (b'{"messages":[' + line + b"]}", line, b"\n  " + line.replace(b",", b",\n"), line + b"\r\n"):
        assert [accepted(bytes(raw)).uuid for raw in decode_body(body).messages] == ["a"]
    assert len(decode_body(line + b"\n\n" + line + line).messages) == 3
    assert (
        decode_body(b'{"messages":[],"todos":[{"sessionId":"s","filename":"f","todos":[]}]}')
        .todos[0]
        .filename
        == "f"
    )
    assert decode_body(b"").messages == []


def test_a_payload_is_read_as_the_endpoint_took_it() -> None:
    """What was counted at the front door is what is stored, whatever the body looks like."""
    lines = b'"messages":[{"type":"user","uuid":"a"},{"type":"user","uuid":"b"}]'
    odd = [
        b'"config":{"settings":{"x":1e999}}',
        b'"todos":[{"sessionId":"s","filename":"f","todos":["\xff"]}]',
    ]
    for extra in odd:
        body = b"{" + lines + b"," + extra + b"}"
        assert len(messages_in_batch(body)[0]) == 2
        for endpoint in ("batch", None):
            read = decode_body(body, endpoint=endpoint)
            assert len(read.messages) == 2
            bson.encode({"v": storable(read.config.settings if read.config else read.todos[0].todos)})
    todos = decode_body(b'{"type":"todos",' + odd[1] + b"}", endpoint="batch")
    assert (len(todos.messages), len(todos.todos)) == (0, 1)
    single = decode_body(b' {"type":"user","uuid":"c",' + lines + b"}\n", endpoint="message")
    assert [accepted(bytes(raw)).uuid for raw in single.messages] == ["c"]


def test_field_paths_by_version() -> None:
    line = {"type": "user", "uuid": "u", "version": "2.1", "message": {"role": "user"}, "data": {"type": "x"}}
    assert paths_of([accepted(line).shape]) == {
        "2.1": {
            "user", "user.type", "user.uuid", "user.version", "user.message", "user.message.role", "user.data",
            "user.data.type",
        }
    }  # fmt: skip
