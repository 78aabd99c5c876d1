"""How commands print lists: every cell whole, whatever the terminal's width, so that an id can be copied; or as JSON, one item a line."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one item a line.")]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, two spaces between them; what a terminal cannot show is replaced."""
    lines = [list(columns), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def print_json(items: Iterable[Any]) -> None:
    """One item a line."""
    for item in items:
        typer.echo(msgspec.json.encode(item, enc_hook=str).decode())


def print_items(
    items: Iterable[Any], columns: Sequence[str], rows: Iterable[Sequence[object]], *, as_json: bool
) -> None:
    """Items as JSON, or as a table of what `rows` says of them."""
    if as_json:
        print_json(items)
    else:
        print_table(columns, rows)


def in_utc(time: str) -> str:
    """A time as answers say it (ISO 8601, in any zone), to the second in UTC."""
    return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _plain(cell: object) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(cell))
