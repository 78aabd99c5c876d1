"""Single values: what a text must look like to be one of a type, and how it is handed to PostgreSQL. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

from ingestion_assets.entities.definition import EntityField, Formats

Read = Callable[[str], str | None]

RANGES = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
INTEGER = r"[+-]?[0-9]+"
UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_PARTS = {
    "%Y": r"(?P<year>[0-9]{4})", "%m": r"(?P<month>[0-9]{2})", "%d": r"(?P<day>[0-9]{2})",
    "%H": r"(?P<hour>[01][0-9]|2[0-3])", "%M": r"(?P<minute>[0-5][0-9])", "%S": r"(?P<second>[0-5][0-9])",
    "%f": r"(?P<fraction>[0-9]{1,6})", "%z": r"(?P<zone>Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])",
}  # fmt: skip
_NAMED = re.compile(r"\?P<[a-z]+>")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ValueFault(Exception):  # noqa: N818 - an outcome of reading, like a value
    """Why a text is no value of its field: a stable code, and what was expected."""

    code: str
    expected: str


def date_pattern(written: str) -> str:
    """The regular expression of a format of dates or timestamps, for Python; see `without_names`."""
    return "".join(_PARTS.get(part, re.escape(part)) for part in re.split(r"(%.)", written))


def without_names(pattern: str) -> str:
    """The same expression without named groups, for engines that need none."""
    return _NAMED.sub("?:", pattern)


def decimal_pattern(formats: Formats) -> str:
    """The regular expression of a decimal as it is written."""
    point = re.escape(formats.decimal)
    whole = "[0-9]+"
    if formats.group:
        whole = f"(?:[0-9]{{1,3}}(?:{re.escape(formats.group)}[0-9]{{3}})+|[0-9]+)"
    return f"[+-]?(?:{whole}(?:{point}[0-9]+)?|{point}[0-9]+)"


def fitting_decimal(field: EntityField) -> str:
    """The regular expression of a plain decimal that the field holds without losing a digit."""
    whole, scale = (field.precision or 0) - (field.scale or 0), field.scale or 0
    return rf"[+-]?0*[0-9]{{0,{whole}}}(?:\.[0-9]{{0,{scale}}}0*)?"


def reader(field: EntityField, formats: Formats) -> Read:
    """A function from a field's text to what PostgreSQL is given (None: NULL). It raises `ValueFault`."""
    read = _READERS[field.type](field, formats)

    def read_field(text: str) -> str | None:
        if text == formats.missing:
            if field.nullable:
                return None
            if not text and field.empty == "allowed":
                return read(text)
            raise ValueFault("missing_value", "a value")
        return read(text)

    return read_field


def shown(text: str) -> str:
    """A value as errors quote it."""
    text = text.replace("\0", "\ufffd")  # NUL can be kept in no text of PostgreSQL
    text = text.replace("\ufeff", "\\ufeff")  # which nobody would see
    return f'"{text}"' if len(text) <= _SHOWN else f'"{text[:_SHOWN]}…" ({len(text)} characters)'


def cut(text: str) -> str:
    """A value as errors name it in passing."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _integer(field: EntityField, _: Formats) -> Read:
    limit = RANGES[field.type]
    fits = re.compile(INTEGER).fullmatch

    def read(text: str) -> str:
        if not fits(text):
            raise ValueFault("not_an_integer", "integer")
        if len(text) > 4000 or not -limit <= (value := int(text)) < limit:
            raise ValueFault("out_of_range", f"integer from {-limit} to {limit - 1}")
        return str(value)

    return read


def _decimal(field: EntityField, formats: Formats) -> Read:
    written, fits = (
        re.compile(decimal_pattern(formats)).fullmatch,
        re.compile(fitting_decimal(field)).fullmatch,
    )
    scale = field.scale or 0

    def read(text: str) -> str:
        if not written(text):
            raise ValueFault("not_a_decimal", f"decimal such as 1{formats.decimal}5")
        plain = text.replace(formats.group, "") if formats.group else text
        plain = plain.replace(formats.decimal, ".")
        if not fits(plain):
            decimals = plain.partition(".")[2].rstrip("0")
            if len(decimals) > scale:
                raise ValueFault("too_precise", f"decimal with at most {scale} decimals")
            raise ValueFault(
                "out_of_range",
                f"decimal with at most {(field.precision or 0) - scale} digits before the decimals",
            )
        return plain

    return read


def _text(field: EntityField, _: Formats) -> Read:
    allowed = None if field.values is None else frozenset(field.values)
    longest = field.length

    def read(text: str) -> str:
        if "\0" in text:
            raise ValueFault("invalid_character", "text without NUL")
        if longest is not None and len(text) > longest:
            raise ValueFault("too_long", f"at most {longest} characters")
        if allowed is not None and text not in allowed:
            raise ValueFault("not_allowed", f"one of {', '.join(field.values or ())}")
        return text

    return read


def _boolean(_: EntityField, formats: Formats) -> Read:
    known = dict.fromkeys(formats.when_true, "true") | dict.fromkeys(formats.when_false, "false")

    def read(text: str) -> str:
        if text not in known:
            raise ValueFault("not_a_boolean", f"one of {', '.join(known)}")
        return known[text]

    return read


def _uuid(_: EntityField, __: Formats) -> Read:
    fits = re.compile(UUID).fullmatch

    def read(text: str) -> str:
        if not fits(text):
            raise ValueFault("not_a_uuid", "uuid")
        return text.lower()

    return read


def _date(_: EntityField, formats: Formats) -> Read:
    return _read_as(
        "date",
        formats.date,
        lambda parts: date(*(int(parts[name]) for name in ("year", "month", "day"))).isoformat(),
    )


def _timestamp(_: EntityField, formats: Formats) -> Read:
    return _read_as(
        "timestamp", formats.timestamp, lambda parts: _moment(parts).isoformat(timespec="microseconds")
    )


def _read_as(kind: str, form: str, as_text: Callable[[dict[str, str]], str]) -> Read:
    written = re.compile(date_pattern(form)).fullmatch

    def read(text: str) -> str:
        match = written(text)
        try:
            if match is None:
                raise ValueError
            return as_text(match.groupdict())
        except (ValueError, OverflowError):
            raise ValueFault(f"not_a_{kind}", f"{kind} written {form}") from None

    return read


def _moment(parts: dict[str, str]) -> datetime:
    year, month, day = (int(parts[name]) for name in ("year", "month", "day"))
    hour, minute, second = (int(parts.get(name, 0)) for name in ("hour", "minute", "second"))
    fraction = int(parts.get("fraction", "0").ljust(6, "0"))
    zone = parts.get("zone", "Z")
    if zone == "Z":
        return datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC)
    away = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    there = timezone(-away if zone[0] == "-" else away)
    return datetime(year, month, day, hour, minute, second, fraction, tzinfo=there).astimezone(UTC)


_READERS: dict[str, Callable[[EntityField, Formats], Read]] = {
    "smallint": _integer, "integer": _integer, "bigint": _integer, "decimal": _decimal, "string": _text,
    "text": _text, "boolean": _boolean, "date": _date, "timestamp": _timestamp, "uuid": _uuid,
}  # fmt: skip
