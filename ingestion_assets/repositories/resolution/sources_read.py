"""Manifests read without trust: what cannot be read, or is no table, is empty."""

import re
import tomllib
from typing import Any

import msgspec

LARGEST = 1_000_000
# Each alternative takes what it started, closed or not: no step back, whatever is in the file.
_COMMENT = re.compile(rb'("(?:[^"\\]++|\\.)*+"?)|//[^\n]*+|/\*.*?(?:\*/|\Z)', re.DOTALL)
_LAST_COMMA = re.compile(rb'("(?:[^"\\]++|\\.)*+"?)|,(?=\s*+[}\]])', re.DOTALL)


def json_table(content: bytes) -> dict[str, Any]:
    """A JSON object; comments and commas before an end may be in it."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if len(content) > LARGEST:
        return {}
    for text in (content, None):
        try:
            found = msgspec.json.decode(_plain(content) if text is None else text)
        except (ValueError, RecursionError):
            continue
        return table(found)
    return {}


def _plain(content: bytes) -> bytes:
    for pattern in (_COMMENT, _LAST_COMMA):
        content = pattern.sub(lambda found: found.group(1) or b" ", content)
    return content


def toml_table(content: bytes) -> dict[str, Any]:
    """A TOML document."""
    if len(content) > LARGEST:
        return {}
    try:
        return tomllib.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}


def table(value: object) -> dict[str, Any]:
    """The value, if it is a table."""
    return value if isinstance(value, dict) else {}


def strings(value: object) -> list[str]:
    """The strings of a list, or the one string."""
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
