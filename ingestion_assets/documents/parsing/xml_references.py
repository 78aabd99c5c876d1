"""References of XML (`&amp;`, `&#233;`), which kreuzberg leaves out of the text of docx: characters stand in for them while it reads."""

import re

from ingestion_assets.documents.parsing.formulas import rewritten

_REFERENCE = re.compile(rb"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));")
_NAMED = {b"amp": "&", b"lt": "<", b"gt": ">", b"quot": '"', b"apos": "'"}
_PARTS = re.compile(r"word/(?:document|header\d*|footer\d*)\.xml")
_FIRST = 0x10FF00
"""In the last of the planes for private use: ASCII stands there, as markup must not come of it."""
_STANDING_IN = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + 0x7F)}]")


def hidden(data: bytes) -> bytes:
    """The archive with characters for the references in its parts with text."""
    return rewritten(data, lambda name: _PARTS.fullmatch(name) is not None, b"&", _without)


def shown(text: str) -> str:
    """The text with what stood in for references."""
    return _STANDING_IN.sub(lambda found: chr(ord(found[0]) - _FIRST), text)


def _without(part: bytes) -> bytes:
    return _REFERENCE.sub(_character, part)


def _character(found: re.Match[bytes]) -> bytes:
    name, decimal, hexadecimal = found.groups()
    code = ord(_NAMED[name]) if name else int(decimal) if decimal else int(hexadecimal, 16)
    if code < 0x80:
        return chr(_FIRST + code).encode() if code in (9, 10) or code >= 0x20 else found[0]
    if code > 0x10FFFF or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE:
        return found[0]
    return chr(code).encode()
