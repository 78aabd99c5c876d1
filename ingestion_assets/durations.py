"""Durations as people write them."""

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """Seconds: of `30s`, `15m`, `2h`, `1d`, or of a number, which are seconds. Raises `ValueError` with a sentence."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: write 30s, 15m, 2h or 1d")
    return float(match[1]) * _UNIT_S[match[2]]


def duration_option(text: str) -> float:
    """`seconds_of`, as the parser of an option. Raises `typer.BadParameter`."""
    import typer  # noqa: PLC0415

    try:
        return seconds_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
