"""Cursors of lists: opaque to clients, checked when they come back."""

import base64
import binascii
from uuid import UUID

from ingestion_assets.frontdoor.problems import Problem, error_item


def encode_cursor(position: str | int | None) -> str | None:
    """The cursor for a position, None at the end of a list."""
    return None if position is None else base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def id_cursor(cursor: str | None) -> str | None:
    """The id a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return None
    try:
        return str(UUID(_decode(cursor)))
    except ValueError:
        raise _invalid() from None


def offset_cursor(cursor: str | None) -> int:
    """The offset a cursor stands for, 0 for none. Raises `Problem` 422."""
    if cursor is None:
        return 0
    text = _decode(cursor)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _invalid()
    return int(text)


def decode_cursor(cursor: str | None) -> str | None:
    """The text a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return None
    text = _decode(cursor)
    if "\0" in text:
        raise _invalid()
    return text


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "utf-8"
        )
    except (binascii.Error, ValueError):
        raise _invalid() from None


def _invalid() -> Problem:
    item = error_item("query", "cursor", msg="not a cursor of this list", type="cursor")
    return Problem(422, "The cursor is not one that this list gave out.", errors=[item])
