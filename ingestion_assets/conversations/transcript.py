"""Takes one line of a transcript apart into the objects that can be sent and the stretches that cannot.

Pure: bytes in, pieces out. Files and offsets are read in `slices`. An object is passed on byte for byte, so
that numbers and escapes reach the store as they were written. Real transcripts hold two objects on one line,
a stub that a killed program left before the next object, runs of NUL bytes, byte order marks and bad UTF-8;
all of these yield whatever can be read for certain, and never an object out of the middle of a broken one.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

_PADDING = b" \t\r\n\x00\xef\xbb\xbf"
_PADDING_TEXT = " \t\r\n\x00\ufeff"
_OBJECT_START = re.compile(r'\{\s*"')


class _AnyObject(msgspec.Struct):
    """Decoding into a struct without fields checks the whole text without building any of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes `[start, end)` of a line: an object to send (`raw`), or why there is none (`code`)."""

    start: int
    end: int
    raw: bytes | None = None
    code: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()


def split_line(line: bytes, *, terminated: bool = True) -> list[Piece]:
    """The pieces of one line, in order; none for a blank line.

    `terminated` tells whether a line feed followed. Where none did, a tail that is not yet an object has the
    code `incomplete`: more of it may come. Other codes: `not_an_object`, `truncated`, `invalid_json`,
    `too_deep`.
    """
    body = line.strip(_PADDING)
    if not body:
        return []
    start = line.index(body)
    notes = ("nul_bytes",) if b"\x00" in line else ()
    try:
        _check_object(body)
    except (msgspec.DecodeError, RecursionError):
        return _split_slowly(body, start=start, terminated=terminated, notes=notes)
    raw, repaired = _as_utf8(body)
    return [Piece(start=start, end=start + len(body), raw=raw, notes=notes + repaired)]


_check_object = msgspec.json.Decoder(_AnyObject).decode


def _as_utf8(raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw.decode(errors="replace").encode(), ("invalid_utf8",)
    return raw, ()


def _split_slowly(body: bytes, *, start: int, terminated: bool, notes: tuple[str, ...]) -> list[Piece]:
    text = body.decode(errors="surrogateescape")
    pieces: list[Piece] = []
    position, offset = 0, start
    while True:
        begin = _skip_padding(text, position)
        if begin >= len(text):
            return pieces
        end, code, reason = _next_stretch(text, begin, recover=terminated)
        if not terminated and code is not None and end == len(text):
            code, reason = "incomplete", "the last line of the file is not complete yet"
        offset += _byte_length(text[position:begin])
        stretch = text[begin:end].encode(errors="surrogateescape")
        if code is None:
            raw, repaired = _as_utf8(stretch)
            shared = ("shared_line",) if pieces or end < len(text) else ()
            pieces.append(
                Piece(start=offset, end=offset + len(stretch), raw=raw, notes=notes + repaired + shared)
            )
        else:
            pieces.append(
                Piece(start=offset, end=offset + len(stretch), code=code, reason=reason, notes=notes)
            )
        position, offset, notes = end, offset + len(stretch), ()


def _next_stretch(text: str, begin: int, *, recover: bool) -> tuple[int, str | None, str | None]:
    """Where the stretch that starts at `begin` ends, and code and reason when it is no object."""
    try:
        value, end = _DECODER.raw_decode(text, begin)
    except RecursionError:
        return len(text), "too_deep", "nested too deeply to be read"
    except ValueError as error:
        code, reason = _explain(error, text)
    else:
        if isinstance(value, dict):
            return end, None, None
        code, reason = "not_an_object", f"a JSON {_json_name(value)} stands where an object should"
        if _skip_padding(text, end) == len(text):
            return end, code, reason
    resume = _next_line_object(text, begin + 1) if recover else None
    if resume is None:
        return len(text), code, reason
    return resume, "truncated", "cut short: the next object follows on the same line"


def _next_line_object(text: str, begin: int) -> int | None:
    """Start of the next object behind a broken stretch that is certainly a line of its own.

    Certain means: it is complete, nothing but padding or another object follows it, and it carries what only
    whole lines carry. A content block or message nested in a broken line has no session id of its own.
    """
    for match in _OBJECT_START.finditer(text, begin):
        try:
            value, end = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        after = _skip_padding(text, end)
        if (after == len(text) or text[after] == "{") and _looks_like_a_line(value):
            return match.start()
    return None


def _looks_like_a_line(value: dict[str, Any]) -> bool:
    return isinstance(value.get("type"), str) and any(
        key in value for key in ("sessionId", "leafUuid", "snapshot")
    )


def _explain(error: ValueError, text: str) -> tuple[str, str]:
    if not isinstance(error, json.JSONDecodeError):
        return "invalid_json", str(error)
    cut = error.pos >= len(text) or error.msg.startswith("Unterminated string")
    if cut:
        return "truncated", "the line ends in the middle of an object"
    return "invalid_json", f"not valid JSON: {error.msg} at character {error.pos + 1} of the line"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"not valid JSON: {name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=len, parse_float=len)


def _skip_padding(text: str, position: int) -> int:
    while position < len(text) and text[position] in _PADDING_TEXT:
        position += 1
    return position


def _byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))


def _json_name(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", str: "string", list: "array"}.get(type(value), "number")
