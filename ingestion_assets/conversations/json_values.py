"""JSON values to Python and to BSON and back, whatever odd thing they hold. Knows nothing of messages."""

import json
import math
from dataclasses import dataclass
from typing import Any

import msgspec
from bson.binary import Binary
from bson.decimal128 import Decimal128

NUMBER_AS_TEXT = 128  # BSON subtype of a Binary that holds the text of a number no BSON number can hold
_INT64 = range(-(2**63), 2**63)
_MOST_DIGITS = 4300  # of an int that Python reads and writes
_REPLACEMENT = "�"


class NotJsonError(ValueError):
    """The bytes are no JSON value."""


class NumberText:
    """A number that neither a Python int nor a double can hold, as it was written. It is no text: nothing takes it for a name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


@dataclass(frozen=True, slots=True)
class Decoded:
    """A JSON value; `odd` tells that BSON needs `storable`; `openers` bounds its depth from above."""

    value: Any
    odd: bool
    warnings: tuple[str, ...]
    openers: int


def decode(raw: bytes) -> Decoded:
    """Parse one JSON value. Raises `NotJsonError` or `RecursionError`."""
    openers = raw.count(b"{") + raw.count(b"[")
    if b"\\u0000" not in raw:
        try:
            return Decoded(msgspec.json.decode(raw), False, (), openers)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return _decode_odd(raw, openers)


def _decode_odd(raw: bytes, openers: int) -> Decoded:
    text = raw.decode("utf-8", "replace")
    warnings = [] if "�".encode() in raw or _REPLACEMENT not in text else ["invalid_utf8_replaced"]
    try:
        value = json.loads(text, strict=False, parse_int=_int, parse_float=_float, parse_constant=_not_json)
    except ValueError as error:
        raise NotJsonError(str(error)) from error
    cleaner = _Cleaner()
    value = cleaner.clean(value)
    return Decoded(value, True, (*warnings, *sorted(cleaner.warnings)), openers)


def _int(text: str) -> int | NumberText:
    return int(text) if len(text.lstrip("-")) <= _MOST_DIGITS else NumberText(text)


def _float(text: str) -> float | NumberText:
    number = float(text)
    return number if math.isfinite(number) else NumberText(text)


def _not_json(text: str) -> Any:
    raise NotJsonError(f"{text} is no JSON number")


def clean(value: Any) -> Any:
    """The value with lone surrogates and NULs replaced by U+FFFD."""
    return _Cleaner().clean(value)


class _Cleaner:
    """Replaces what no store can hold: lone surrogates and NULs, in keys and values."""

    def __init__(self) -> None:
        self.warnings: set[str] = set()

    def clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._text(key): self.clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        if "\0" in text:
            self.warnings.add("nul_replaced")
            text = text.replace("\0", _REPLACEMENT)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                self.warnings.add("lone_surrogate_replaced")
                text = "".join(_REPLACEMENT if "\ud800" <= char <= "\udfff" else char for char in text)
        return text


def canonical(value: Any) -> bytes:
    """Canonical JSON: keys sorted, no spaces, UTF-8, shortest form of numbers."""
    try:
        return msgspec.json.encode(value, order="sorted", enc_hook=_as_written)
    except (OverflowError, TypeError, UnicodeEncodeError, msgspec.MsgspecError):
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
        ).encode("utf-8", "replace")


def _as_written(number: NumberText) -> msgspec.Raw:
    return msgspec.Raw(str(number).encode())


def depth(value: Any) -> int:
    """Levels of nesting: 0 for a scalar, 1 for a flat object."""
    level, levels = [value] if isinstance(value, dict | list) else [], 0
    while level:
        levels += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return levels


def storable(value: Any) -> Any:
    """The value with every number that BSON has no number for written as Decimal128 or as text in a Binary."""
    if isinstance(value, dict):
        return {key: storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, NumberText):
        return Binary(str(value).encode(), NUMBER_AS_TEXT)
    if isinstance(value, int) and value not in _INT64:
        digits = str(value)
        return (
            Decimal128(digits) if len(digits.lstrip("-")) <= 34 else Binary(digits.encode(), NUMBER_AS_TEXT)
        )
    return value


def restore(value: Any) -> Any:
    """The inverse of `storable`."""
    if isinstance(value, dict):
        return {key: restore(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore(item) for item in value]
    if isinstance(value, Decimal128):
        return int(value.to_decimal())
    if isinstance(value, Binary) and value.subtype == NUMBER_AS_TEXT:
        text = value.decode()
        return NumberText(text) if set(text) & set(".eE") else _int(text)
    return value
