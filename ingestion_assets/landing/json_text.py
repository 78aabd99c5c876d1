"""JSON text that msgspec would turn away though it is well-formed by RFC 8259: escapes of lone surrogates."""

import re
from typing import TypeVar

import msgspec

Value = TypeVar("Value")

_ESCAPE = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def replace_lone_surrogates(body: bytes) -> bytes:
    """The same text, byte for byte as long, with `\\ufffd` for every escape of half a surrogate pair."""
    replaced = bytearray(body)
    for match in _ESCAPE.finditer(body):
        if match[1]:
            replaced[match.start() : match.end()] = b"\\ufffd"
    return bytes(replaced)


def decode(body: bytes | memoryview, decoder: "msgspec.json.Decoder[Value]") -> Value:
    """Decode, taking lone surrogates as replacement characters.

    Raises `msgspec.ValidationError` for a wrong shape, `msgspec.DecodeError` for malformed JSON, `RecursionError` for JSON
    that is nested too deeply for the parser.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        text = bytes(body)
        if b"\\ud" not in text and b"\\uD" not in text:
            raise
        return decoder.decode(replace_lone_surrogates(text))
