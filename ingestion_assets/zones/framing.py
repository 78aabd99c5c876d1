"""Bytes into records: where in a payload each record stands. Nothing is said here of what a record must hold.

A record stays as it was sent, so numbers of any size and precision are what they were, and of two members of one name the
last counts, as in every reader that follows.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from ingestion_assets.landing.json_text import replace_lone_surrogates
from ingestion_assets.zones.csv_rows import records_of_csv
from ingestion_assets.zones.record_paths import RecordPath, record_path
from ingestion_assets.zones.unreadable import UnreadableError

__all__ = ["MEDIA_TYPES", "UnreadableError", "check_path", "frame", "kind_of"]

_KINDS = {
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "lines",
    "application/ndjson": "lines",
    "application/jsonl": "lines",
    "application/x-jsonlines": "lines",
    "application/jsonlines": "lines",
    "application/json-lines": "lines",
    "application/json-seq": "lines",
    "text/csv": "csv",
    "application/csv": "csv",
}
MEDIA_TYPES = frozenset(_KINDS)
"""Those that are taken, beside `application/…+json`."""
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)
_CHARSETS = frozenset(
    {"iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252", "utf-16", "utf-16le", "utf-16be", "utf-32"}
)
_BOM = b"\xef\xbb\xbf"
_check = msgspec.json.Decoder(msgspec.Raw).decode


def kind_of(media_type: str) -> str | None:
    """`json`, `lines` or `csv` for a media type, None for one that is not taken. CSV's values are texts: `read(…, texts=True)`."""
    name = media_type.partition(";")[0].strip().lower()
    return _KINDS.get(name, "json" if name.endswith("+json") else None)


def check_path(path: str) -> None:
    """Raises `ValueError` with a sentence unless `path` is a JSONPath."""
    record_path(path)


def frame(body: bytes, *, media_type: str, path: str = "$") -> list[bytes]:
    """The records of a payload, in order, each as JSON bytes; an empty list where there are none.

    `media_type`: JSON (an object is a record, an array is one of records), JSON lines or CSV, by `kind_of`. `path`: a JSONPath
    (RFC 9535) to where the records lie in the JSON, or in each line of it; `$` and `$[*]` say the same. CSV has no paths.
    A bad line among good JSON lines is given as it stands: who reads it rejects it. A row of CSV is an object of texts, without the
    fields that are empty; one that has not as many fields as the first line is an array of texts. Raises `UnreadableError`.
    """
    kind = kind_of(media_type)
    if kind is None:
        raise UnreadableError(
            f"{media_type.partition(';')[0]!r} is not taken: send application/json, application/x-ndjson or text/csv"
        )
    text = _in_utf8(body, media_type)
    if not text.strip():
        raise UnreadableError("the body is empty")
    if kind == "csv":
        return records_of_csv(text)
    where = record_path(path)
    return _of_lines(text, where) if kind == "lines" else _of_json(text, where)


def _in_utf8(body: bytes, media_type: str) -> bytes:
    """The text in UTF-8; blanks stand for a byte order mark, so that places stay what they were."""
    if body.startswith(_BOM):
        return b"   " + body[3:]
    named = _CHARSET.search(media_type)
    if named is None or named[1].lower() in {"utf-8", "utf8", "us-ascii"}:
        return body
    if named[1].lower() not in _CHARSETS:  # of Python's codecs some are no charsets, and cost what they like
        raise UnreadableError(f"the charset {named[1]!r} is not taken: send UTF-8")
    try:
        return body.decode(named[1]).removeprefix("\ufeff").encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise UnreadableError(f"the body is not {named[1]} at {error.start}") from None


def _of_json(text: bytes, where: RecordPath) -> list[bytes]:
    try:
        return _whole(text, where.records)
    except msgspec.DecodeError as error:
        said = str(error)
        if "trailing characters" in said:
            said += "; send several values as JSON lines, with the media type application/x-ndjson"
        raise UnreadableError(f"the body is no JSON: {said}") from None
    except RecursionError:
        raise UnreadableError("the body is no JSON that can be read: it is nested too deeply") from None


def _of_lines(text: bytes, where: RecordPath) -> list[bytes]:
    lines = [
        (number, line)
        for number, each in enumerate(text.split(b"\n"), 1)
        if (line := each.strip(b" \t\r\x1e"))
    ]
    for first, line in lines:
        if _is_json(line):
            break
        if first == lines[-1][0]:
            raise UnreadableError(f"no line of the body is JSON, from line {lines[0][0]} to line {first}")
    if where.whole:
        return [line for _, line in lines]
    records: list[bytes] = []
    for number, line in lines:
        try:
            records += _of_json(line, where) if _is_json(line) else [line]
        except UnreadableError as error:
            raise UnreadableError(f"line {number}: {error}") from None
    return records


def _is_json(line: bytes) -> bool:
    try:
        _check(line)
    except (msgspec.DecodeError, RecursionError):
        return b"\\ud" in line.lower() and replace_lone_surrogates(line) != line
    return True


def _whole(text: bytes, split: Callable[[bytes], Iterator[msgspec.Raw]]) -> list[bytes]:
    """The records as they stand. What holds half a surrogate pair is found beside those that do not; its reader says so."""
    try:
        return [bytes(one) for one in split(text)]
    except msgspec.DecodeError:
        readable = replace_lone_surrogates(text)  # as long, byte for byte
        if readable == text:
            raise
        return [text[start : start + length] for start, length in _places(readable, split)]


def _places(text: bytes, split: Callable[[bytes], Iterator[msgspec.Raw]]) -> Iterator[tuple[int, int]]:
    """Where the records stand in the text that they are views of."""
    import numpy as np  # noqa: PLC0415

    def address(of: bytes | msgspec.Raw) -> int:
        return np.frombuffer(memoryview(of), np.uint8).ctypes.data

    start = address(text)
    for one in split(text):
        place, length = address(one) - start, len(memoryview(one))
        if not 0 <= place <= len(text) - length:
            raise UnreadableError("the body holds half a surrogate pair")
        yield place, length
