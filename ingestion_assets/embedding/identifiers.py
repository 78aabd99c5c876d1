"""The parts of identifiers: `HTTPServerError`, `http_server_error` and `httpServerError` speak of the same three things."""

import re

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
_LONGEST = 40  # characters; what is longer is data, not a word


def parts(identifier: str) -> list[str]:
    """The words of an identifier in lower case; single letters, digits and overlong runs say nothing and are left out."""
    return [word.lower() for word in _PART.findall(identifier) if 1 < len(word) <= _LONGEST]
