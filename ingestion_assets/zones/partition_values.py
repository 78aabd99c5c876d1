"""Which partition a payload belongs to, where a zone is partitioned by a value of its records.

Only that value is read. A record that cannot be read, or is no object, names none: its run rejects it, as it does in any zone.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from ingestion_assets.landing.json_text import replace_lone_surrogates
from ingestion_assets.zones.document import ByValue

LONGEST = 128

_WHOLE = re.compile(rb"-?[0-9]+")
_text = msgspec.json.Decoder(str).decode


class MixedValuesError(ValueError):
    """The records of a payload name no partition, or several; says which record and what to do."""


class _UnreadError(ValueError):
    """A record names nothing; says why."""


def partition_value(by: ByValue | None, records: Sequence[bytes]) -> str | None:
    """The value that all of a payload's records have; None for a zone of days.

    A payload is one partition's, so that it is claimed and rebuilt as a whole. Raises `MixedValuesError`.
    """
    if by is None:
        return None
    read = _reader(by.by)
    found, unread = None, "there is none"
    for position, record in enumerate(records):
        try:
            value = _text_of(_value_at(record, read))
        except _UnreadError as error:
            unread = f"record {position} {error}"
            continue
        if value is None:
            raise MixedValuesError(
                f"record {position} has no text of 1 to {LONGEST} printable characters, or whole number, at {by.by}, which names its partition"
            )
        if found is not None and value != found:
            raise MixedValuesError(
                f"record {position} has another value at {by.by} than those before: send the records of each one in a payload of their own"
            )
        found = value
    if found is None:
        raise MixedValuesError(f"no record has a value at {by.by}, which names its partition: {unread}")
    return found


def check_by(by: str) -> None:
    """Raises `ValueError` unless `by` names a field, or one within objects: `$.store`, `$.order.store`."""
    names = by.removeprefix("$.").split(".")
    if not by.startswith("$.") or not all(
        name.replace("_", "a").replace("-", "a").isalnum() for name in names
    ):
        raise ValueError(f"{by!r} names no field: write $.store, or $.order.store where it lies in an object")


@lru_cache(maxsize=256)
def _reader(by: str) -> Callable[[bytes], Any]:
    """Reads a record into objects within objects, `value` each, down to the text of the value as it stands."""
    names = by.removeprefix("$.").split(".")
    kind: Any = msgspec.Raw
    for name in reversed(names):
        default = msgspec.Raw() if kind is msgspec.Raw else None
        field = ("value", kind if kind is msgspec.Raw else kind | None, default)
        kind = msgspec.defstruct("Within", [field], rename={"value": name}, gc=False)
    return msgspec.json.Decoder(kind).decode


def _value_at(record: bytes, read: Callable[[bytes], Any]) -> bytes:
    """The text of the value, nothing where there is none. Raises `_UnreadError`."""
    try:
        found = read(record)
    except msgspec.ValidationError:
        if record.lstrip()[:1] != b"{":
            raise _UnreadError("is no JSON object") from None
        return b""
    except RecursionError:
        raise _UnreadError("is nested too deeply") from None
    except ValueError as error:
        readable = replace_lone_surrogates(record)
        if readable == record:
            raise _UnreadError(f"is no JSON: {error}") from None
        value = _value_at(readable, read)
        if b"\\ufffd" in value:
            raise _UnreadError("has half a surrogate pair there") from None
        return value
    while isinstance(found, msgspec.Struct):
        found = found.value  # type: ignore[attr-defined]
    return b"" if found is None else bytes(found)


def _text_of(raw: bytes) -> str | None:
    """What the value is as a text; None for one that names no partition. Raises `_UnreadError`."""
    if _WHOLE.fullmatch(raw):
        text = raw.decode() if raw != b"-0" else "0"
    elif raw[:1] != b'"':
        return None
    else:
        try:
            text = _text(raw)
        except ValueError:
            raise _UnreadError("has what is no text there") from None
    return text if text.strip() and len(text) <= LONGEST and text.isprintable() else None
