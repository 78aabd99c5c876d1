"""Paths of a tree are bytes: how they are stored as text, reversibly, and shown, escaped."""

_BACKSLASH = "\\"


def stored(path: bytes) -> str:
    """A path as text without NUL that `restored` makes the same bytes of: UTF-8 as it is, other bytes and backslashes as `\\xNN`."""
    return path.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def restored(text: str) -> bytes:
    """The path that was stored."""
    first, *rest = text.split(_BACKSLASH)
    parts = (bytes([int(one[1:3], 16)]) + one[3:].encode() for one in rest)
    return first.encode() + b"".join(parts)


def shown(path: bytes) -> str:
    """A path as one line of harmless text: control and invisible characters are escaped, those from U+0080 on as `\\uNNNN`: `\\xNN` is a byte."""
    return "".join(one if one.isprintable() else _escaped(one) for one in stored(path))


def _escaped(character: str) -> str:
    if "\x80" <= character <= "\xff":
        return f"\\u{ord(character):04x}"
    return character.encode("unicode_escape").decode()
