"""Texts that every store can hold, whoever wrote them: PostgreSQL has no NUL, UTF-8 no half of a surrogate pair."""

from collections.abc import Mapping
from typing import Any


def storable(text: str, *, longest: int | None = None) -> str:
    """The text with `\\u0000` written out for a NUL and `\\ud83d` for half a surrogate pair, cut to `longest` characters."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    if "\0" in text:
        text = text.replace("\0", "\\u0000")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def storable_json(value: Any, *, longest: int | None = None) -> Any:
    """A value that becomes JSON, with all its texts as they can be held, the names of members among them."""
    if isinstance(value, str):
        return storable(value, longest=longest)
    if isinstance(value, Mapping):
        return {
            storable(name, longest=longest) if isinstance(name, str) else name: storable_json(
                one, longest=longest
            )
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [storable_json(one, longest=longest) for one in value]
    return value
