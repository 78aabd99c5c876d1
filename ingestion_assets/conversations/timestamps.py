"""What a line says of its time → a moment in UTC, and whether that can be when it was said. Pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_END = datetime(2100, 1, 1, tzinfo=UTC)
# Text that is nothing but digits is a Unix time, by its length: seconds, milliseconds, microseconds, nanoseconds.
_UNIX = re.compile(r"-?(?:\d{10}|\d{13}|\d{16}|\d{19})(?:\.\d+)?")
_COMPACT = re.compile(r"(\d{8})(\d{6})")
_LEAP_SECOND = re.compile(r"(\d\d:\d\d:|\d{8}\D\d{4})60(?=$|[.,Z+-])")
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d|\d{8})(\D)24((?::?00){0,2}(?:[.,]0+)?)(?=$|[Z+-])")


class NoTimestampError(ValueError):
    """The value is no point in time."""


def parse_timestamp(value: Any) -> datetime | None:
    """ISO 8601 or RFC 3339 text (without offset: UTC), or a Unix time as a number or as text, in UTC; None for null.

    A leap second (23:59:60 UTC) is the second after it, 24:00:00 is the next day. The unit of a Unix time goes by its size:
    from 1e11 on milliseconds, from 1e14 on microseconds, from 1e17 on nanoseconds. Raises `NoTimestampError` for anything
    else, the empty text included.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return _of_text(value.strip().upper())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _of_number(value)
    except (ValueError, OverflowError, OSError):
        pass
    raise NoTimestampError(f"The timestamp {str(value)[:80]!r} does not parse.")


def plausible(moment: datetime | None) -> datetime | None:
    """The moment if it lies in 1990…2099, in which a conversation can have been held; None for a stray one."""
    return moment if moment is not None and _EARLIEST <= moment < _END else None


def _of_text(text: str) -> datetime:
    if _UNIX.fullmatch(text):
        return _of_number(float(text) if "." in text else int(text))
    if compact := _COMPACT.fullmatch(text):
        text = f"{compact[1]}T{compact[2]}"
    elif text.isdecimal() and len(text) != len("20260131"):
        raise ValueError("digits of no known unit")
    later = timedelta(0)
    if midnight := _MIDNIGHT.match(text):
        text = f"{midnight[1]}{midnight[2]}00{text[midnight.start(3) :]}"
        later = timedelta(days=1)
    elif "60" in text:
        text, leaps = _LEAP_SECOND.subn(r"\g<1>59", text, count=1)
        later = timedelta(seconds=leaps)
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if later == timedelta(seconds=1) and (moment.hour, moment.minute, moment.second) != (23, 59, 59):
        raise ValueError("a leap second at another time than the end of a day")
    return moment + later


def _of_number(number: float) -> datetime:
    size = abs(number)
    unit = 1 if size < 1e11 else 1_000 if size < 1e14 else 1_000_000 if size < 1e17 else 1_000_000_000
    if isinstance(number, int):  # a float has no digits left for microseconds
        whole, rest = divmod(number, unit)
        return datetime.fromtimestamp(whole, UTC) + timedelta(microseconds=rest * 1_000_000 // unit)
    return datetime.fromtimestamp(number / unit, UTC)
